//! Tests that read the tree itself: direction of dependencies, words, limits.
