//! The labels and annotations by which a pod's sandboxes and containers are found again after a restart
//! (invariant N1). They are upstream's, so another kubelet could adopt them too.

/// UID of the pod.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Name of the pod.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Namespace of the pod.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Name of the container in the pod's specification.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";

/// Annotation: a hash of what cannot change without a restart.
pub const HASH: &str = "io.kubernetes.container.hash";
/// Annotation: how often the container was restarted before this incarnation.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation: where the container writes its last words.
pub const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Annotation: `File` or `FallbackToLogsOnError`.
pub const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Annotation: the pod's grace period in seconds, for when the pod itself is no longer known.
pub const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
