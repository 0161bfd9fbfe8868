//! Closed-loop clients: each starts its next operation when the last is done; and what the operations cost.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use futures::future::try_join_all;

use crate::{process, samples::Samples};

/// When the clients stop.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this long.
    Elapsed(Duration),
    /// After this many operations of all together.
    Count(u64),
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Load {
    /// How long each operation took, as its client saw it.
    pub latencies: Samples,
    /// From the first start to the last end.
    pub elapsed: Duration,
    /// CPU time of the servers meanwhile.
    pub server_cpu: Duration,
    /// CPU time of this process meanwhile.
    pub generator_cpu: Duration,
}

impl Load {
    /// Operations per second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// Microseconds of the servers' CPU per operation; NaN when too little was used to tell.
    pub fn server_us(&self) -> f64 {
        self.per_operation_us(self.server_cpu)
    }

    /// Microseconds of the generator's CPU per operation; NaN when too little was used to tell.
    pub fn generator_us(&self) -> f64 {
        self.per_operation_us(self.generator_cpu)
    }

    fn per_operation_us(&self, cpu: Duration) -> f64 {
        if cpu < process::CPU_MIN {
            return f64::NAN;
        }
        cpu.as_secs_f64() * 1e6 / self.latencies.len().max(1) as f64
    }
}

/// Runs clients until they are done. `operation(client, number)` gets the number of its client and its own; the first
/// failure ends the run.
pub async fn run<F, O>(servers: &[u32], clients: usize, until: Until, operation: F) -> anyhow::Result<Load>
where
    F: Fn(usize, u64) -> O,
    O: Future<Output = anyhow::Result<()>>,
{
    let (next, operation) = (&Cell::new(0_u64), &operation);
    let cpu = (process::cpu_of(servers)?, process::cpu(std::process::id())?);
    let begin = Instant::now();
    let client = |client: usize| async move {
        let mut latencies = Samples::default();
        loop {
            let (number, start) = (next.get(), Instant::now());
            let done = match until {
                Until::Elapsed(limit) => start.duration_since(begin) >= limit,
                Until::Count(limit) => number >= limit,
            };
            if done {
                return anyhow::Ok(latencies);
            }
            next.set(number + 1);
            operation(client, number).await?;
            latencies.push(start.elapsed());
        }
    };
    let mut latencies = Samples::default();
    for of_client in try_join_all((0..clients).map(client)).await? {
        latencies.extend(of_client);
    }
    let elapsed = begin.elapsed();
    let server_cpu = process::cpu_of(servers)?.saturating_sub(cpu.0);
    let generator_cpu = process::cpu(std::process::id())?.saturating_sub(cpu.1);
    Ok(Load { latencies, elapsed, server_cpu, generator_cpu })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_operation_runs_once() {
        let seen = std::cell::RefCell::new(Vec::new());
        let note = |_, number| {
            seen.borrow_mut().push(number);
            async {
                tokio::task::yield_now().await;
                Ok(())
            }
        };
        let load = run(&[], 3, Until::Count(10), note).await.unwrap();
        let mut seen = seen.into_inner();
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        assert_eq!(load.latencies.len(), 10);
    }

    #[tokio::test]
    async fn a_failure_ends_the_run() {
        let fails = |_, number| async move {
            anyhow::ensure!(number < 5, "the fifth fails");
            Ok(())
        };
        assert!(run(&[], 2, Until::Count(10), fails).await.is_err());
    }
}
