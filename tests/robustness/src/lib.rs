//! Tests that give real clusters bad input, full disks and sudden deaths: see `tests/`.
