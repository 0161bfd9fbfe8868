//! The front door: embeds any mix of store, API server, scheduler, controllers and node.
