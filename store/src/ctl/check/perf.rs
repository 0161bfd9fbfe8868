//! `check perf`: writes at a steady rate for a while.
//!
//! It passes with nine tenths of the writes that were to be made, none slower than half a second, a standard deviation of
//! at most a tenth, and no error.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use tokio::time::Instant;

use super::{Check, put};
use crate::ctl::Error;
use crate::ctl::session::interrupted;

/// Bytes of a key's random part and of a value.
const KEY_BYTES: usize = 256;
const VALUE_BYTES: usize = 1024;

/// What passes.
const THROUGHPUT_MIN: f64 = 0.9;
const SLOWEST_S_MAX: f64 = 0.5;
const DEVIATION_S_MAX: f64 = 0.1;

/// Runs the check.
pub async fn run(
    check: &Check,
    prefix: &str,
    duration: Duration,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let mut clients = check.clients(check.load.clients()).await?;
    check.begin(&mut clients[0], prefix).await?;
    let (rate, value) = (f64::from(check.load.writes_per_second()), Bytes::from(vec![0; VALUE_BYTES]));
    let begin = Instant::now();
    // Each write has its time; as many are under way as there are clients, so a slow store falls behind.
    let due = (0_u32..)
        .map(|number| Duration::from_secs_f64(f64::from(number) / rate))
        .take_while(|due| *due < duration)
        .zip((0..clients.len()).cycle());
    let writes = futures::stream::iter(due).map(|(due, client)| {
        let mut client = clients[client].clone();
        let request = put(prefix, KEY_BYTES, &value);
        async move {
            tokio::time::sleep_until(begin + due).await;
            let asked = Instant::now();
            let answer = client.put(request).await;
            answer.map(|_| asked.elapsed().as_secs_f64()).map_err(|status| status.message().to_owned())
        }
    });
    let mut writes = Box::pin(writes.buffer_unordered(check.load.clients()));
    let mut seen = Seen::default();
    let late = tokio::time::sleep_until(begin + duration);
    tokio::pin!(late);
    let stopped = loop {
        tokio::select! {
            write = writes.next() => match write {
                Some(write) => seen.add(write),
                None => break Ok(()),
            },
            () = &mut late => break Ok(()),
            stop = interrupted() => break stop.and(Err(Error::Failed("interrupted".to_owned()))),
        }
    };
    drop(writes);
    seen.seconds = begin.elapsed().as_secs_f64();
    check.end(prefix, out).await?;
    stopped?;
    let (lines, passed) = seen.verdict(rate);
    write!(out, "{lines}")?;
    if passed { Ok(()) } else { Err(Error::Failed("the store is too slow for this load".to_owned())) }
}

/// What came of the writes.
#[derive(Default)]
struct Seen {
    latencies_s: Vec<f64>,
    errors: BTreeMap<String, u64>,
    seconds: f64,
}

impl Seen {
    fn add(&mut self, write: Result<f64, String>) {
        match write {
            Ok(latency) => self.latencies_s.push(latency),
            Err(error) => *self.errors.entry(error).or_default() += 1,
        }
    }

    /// Lines for people, and whether it is enough.
    fn verdict(&self, rate: f64) -> (String, bool) {
        let count = self.latencies_s.len() as f64;
        let throughput = count / self.seconds.max(f64::EPSILON);
        let slowest = self.latencies_s.iter().copied().fold(0.0, f64::max);
        let mean = self.latencies_s.iter().sum::<f64>() / count.max(1.0);
        let variance = self.latencies_s.iter().map(|latency| (latency - mean).powi(2)).sum::<f64>();
        let deviation = (variance / count.max(1.0)).sqrt();
        let mut lines = String::new();
        let mut passed = self.errors.is_empty();
        if !passed {
            lines += "FAIL: too many errors\n";
            lines.extend(
                self.errors.iter().map(|(error, count)| format!("FAIL: ERROR({error}) -> {count}\n")),
            );
        }
        let mut judge = |enough: bool, good: String, bad: String| {
            passed &= enough;
            lines += &if enough { format!("PASS: {good}\n") } else { format!("FAIL: {bad}\n") };
        };
        judge(
            throughput / rate > THROUGHPUT_MIN,
            format!("Throughput is {throughput:.0} writes/s"),
            format!("Throughput too low: {throughput:.0} writes/s"),
        );
        judge(
            slowest <= SLOWEST_S_MAX,
            format!("Slowest request took {slowest:.6}s"),
            format!("Slowest request took too long: {slowest:.6}s"),
        );
        judge(
            deviation <= DEVIATION_S_MAX,
            format!("Stddev is {deviation:.6}s"),
            format!("Stddev too high: {deviation:.6}s"),
        );
        lines += if passed { "PASS\n" } else { "FAIL\n" };
        (lines, passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_names_what_is_wrong() {
        let seen = |latencies_s: Vec<f64>, seconds| Seen { latencies_s, seconds, ..Seen::default() };
        let steady = seen(vec![0.1; 150], 1.0).verdict(150.0);
        assert_eq!(
            steady,
            (
                "PASS: Throughput is 150 writes/s\nPASS: Slowest request took 0.100000s\n\
                 PASS: Stddev is 0.000000s\nPASS\n"
                    .to_owned(),
                true
            )
        );
        let (lines, passed) = seen(vec![0.0, 1.0], 1.0).verdict(150.0);
        assert!(!passed);
        for line in [
            "Throughput too low: 2 ",
            "Slowest request took too long: 1.000000s",
            "Stddev too high: 0.500000s",
        ] {
            assert!(lines.contains(line), "{lines}");
        }
        let mut broken = seen(vec![0.1; 150], 1.0);
        broken.add(Err("no leader".to_owned()));
        let (lines, passed) = broken.verdict(150.0);
        assert!(!passed && lines.contains("FAIL: ERROR(no leader) -> 1\n"), "{lines}");
        assert!(!seen(Vec::new(), 1.0).verdict(150.0).1);
    }
}
