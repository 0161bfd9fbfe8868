//! Starts real clusters in tests and talks to them.
