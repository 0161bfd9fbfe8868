//! Thresholds: how many findings in a row turn a verdict. Pure.

use k8s_openapi::api::core::v1::Probe;

/// Counts findings in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    success_threshold: u32,
    failure_threshold: u32,
    last: Option<bool>,
    run: u32,
}

impl Tally {
    /// With the thresholds of a probe.
    pub fn new(probe: &Probe) -> Self {
        let threshold = |value: Option<i32>, default: u32| {
            value.and_then(|v| u32::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default)
        };
        Self {
            success_threshold: threshold(probe.success_threshold, 1),
            failure_threshold: threshold(probe.failure_threshold, 3),
            last: None,
            run: 0,
        }
    }

    /// Counts a finding, and answers the verdict if it is reached (anew or still).
    pub fn count(&mut self, success: bool) -> Option<bool> {
        if self.last == Some(success) {
            self.run = self.run.saturating_add(1);
        } else {
            self.last = Some(success);
            self.run = 1;
        }
        let threshold = if success { self.success_threshold } else { self.failure_threshold };
        (self.run >= threshold).then_some(success)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Probe;

    use super::Tally;

    #[test]
    fn verdicts_need_findings_in_a_row() {
        let probe = Probe { success_threshold: Some(2), failure_threshold: Some(3), ..Probe::default() };
        let mut tally = Tally::new(&probe);
        let findings = [false, false, true, false, false, false, false, true, true];
        let verdicts: Vec<Option<bool>> = findings.into_iter().map(|f| tally.count(f)).collect();
        let expected = [None, None, None, None, None, Some(false), Some(false), None, Some(true)];
        assert_eq!(verdicts, expected);
    }
}
