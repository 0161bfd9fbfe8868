//! Plugin: assigns pods to nodes.
