//! Plugin: the reconciliation loops.
