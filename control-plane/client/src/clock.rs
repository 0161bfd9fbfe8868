//! The only place that reads the wall clock. Decisions take the time as an argument.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

/// The wall clock.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// The wall clock as objects write it, whole seconds.
pub fn time() -> Time {
    whole_seconds(now())
}

/// The wall clock as leases write it, microseconds.
pub fn micro_time() -> MicroTime {
    MicroTime(now())
}

/// What the API stores of a timestamp.
pub fn whole_seconds(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).expect("a timestamp without its fraction is in range"))
}
