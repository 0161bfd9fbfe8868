//! What the table promises to the modules that interpret it.

mod custom;
mod decode;
mod defaulting;
mod facts;
