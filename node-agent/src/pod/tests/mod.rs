//! Lifecycles of pods on fakes.
