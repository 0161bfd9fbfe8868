//! A CRI v1 container runtime on libcontainer with a shim process per pod.
