//! What plugins import: objects client, informers, queue, driver, election, events.
