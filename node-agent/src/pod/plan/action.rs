//! What can be done for a pod, and what an action is about.

use jiff::Timestamp;

/// What an action is about; one action per key at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The pod's volumes.
    Volumes,
    /// The pod's sandbox, being created.
    Sandbox,
    /// A sandbox, being stopped.
    StopSandbox(String),
    /// A container, being started; by name.
    Start(String),
    /// A container, being stopped; by id.
    Kill(String),
    /// A dead container or sandbox, being removed; by id.
    Remove(String),
    /// Everything outside the runtime, being cleaned up.
    TearDown,
    /// The pod, being deleted from the API.
    Delete,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Set the volumes up, or bring them up to date.
    MountVolumes,
    /// Create a sandbox.
    CreateSandbox {
        /// How many there were before.
        attempt: u32,
    },
    /// Stop a sandbox and give its network back.
    StopSandbox {
        /// Which.
        id: String,
    },
    /// Get the image, create and start a container, run its postStart hook.
    Start {
        /// Its name.
        name: String,
        /// Where.
        sandbox_id: String,
        /// How often it was restarted before.
        restarts: u32,
        /// When its last incarnation ended, which is what the next wait counts from.
        after: Option<Timestamp>,
    },
    /// Run the preStop hook, then stop a container.
    Kill {
        /// Which.
        id: String,
        /// Its name.
        name: String,
        /// Seconds between the stop signal and SIGKILL.
        grace_s: i64,
        /// What the event says.
        message: String,
    },
    /// Remove a dead container that is no longer worth keeping, and its log.
    RemoveContainer {
        /// Which.
        id: String,
        /// Its name.
        name: String,
        /// Which incarnation.
        restarts: u32,
    },
    /// Remove a sandbox that was stopped and is empty.
    RemoveSandbox {
        /// Which.
        id: String,
    },
    /// Unmount volumes; what is left of the pod outside the runtime goes.
    TearDown,
    /// Delete the pod from the API: nothing of it runs any more.
    Delete,
}

impl Action {
    /// What it is about.
    pub fn key(&self) -> Key {
        match self {
            Self::MountVolumes => Key::Volumes,
            Self::CreateSandbox { .. } => Key::Sandbox,
            Self::StopSandbox { id } => Key::StopSandbox(id.clone()),
            Self::Start { name, .. } => Key::Start(name.clone()),
            Self::Kill { id, .. } => Key::Kill(id.clone()),
            Self::RemoveContainer { id, .. } | Self::RemoveSandbox { id } => Key::Remove(id.clone()),
            Self::TearDown => Key::TearDown,
            Self::Delete => Key::Delete,
        }
    }
}
