//! Tests that kill processes of real clusters: see `tests/`.
