//! Tests of the API and of the nodes with real clients: see `tests/`.
