//! `cargo xtask fuzz`: every fuzz target under libFuzzer, guided by coverage, for a given time.
//!
//! The instrumentation needs only stable options of the compiler. It finds panics, failed assertions, hangs and runaway
//! memory; it does not look for undefined behaviour, which safe code does not have.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

/// Options of the task.
#[derive(clap::Args)]
pub struct Options {
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only these targets; all when none is named.
    #[arg(long)]
    target: Vec<String>,
    /// Where inputs that reach something new are kept between runs.
    #[arg(long, default_value = "target/fuzz-corpus")]
    corpus: PathBuf,
}

/// Memory of one target in MiB.
const MEMORY_MIB_MAX: u32 = 512;
/// Seconds for one input.
const INPUT_S_MAX: u32 = 5;
/// What the engine wants to be told by the code: which edges it takes and what it compares.
const INSTRUMENTED: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1";

/// Runs the targets one after another; fails if one found something.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").context("run it as cargo xtask fuzz")?;
    let root = Path::new(&here).join("../..").canonicalize()?;
    let known = seeds(&root, &root.join(&options.corpus))?;
    for name in &options.target {
        ensure!(known.contains(name), "no target {name}; there are: {}", known.join(", "));
    }
    let program = build(&root)?;
    let mut failed = Vec::new();
    for name in known.iter().filter(|name| options.target.is_empty() || options.target.contains(name)) {
        println!("{name}: {} s", options.seconds);
        if !fuzz(&root, &program, name, options)? {
            failed.push(name.as_str());
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "found something: {}. The inputs are in tests/fuzz/corpus/TARGET; `cargo test -p fuzz-tests` shows them again",
        failed.join(", ")
    )
}

/// Writes the seeds of all targets into the corpus, and returns the names of the targets.
fn seeds(root: &Path, corpus: &Path) -> anyhow::Result<Vec<String>> {
    let arguments = ["run", "--release", "--quiet", "--package", "fuzz-tests", "--bin", "fuzz-seeds", "--"];
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo.current_dir(root).args(arguments).arg(corpus).stderr(Stdio::inherit()).output();
    let output = output.context("running cargo run")?;
    ensure!(output.status.success(), "the seeds cannot be written");
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

/// Builds the engine with the instrumented code, apart from everything else that is built.
fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let host = host()?;
    let target = target_directory(root)?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root).env("RUSTFLAGS", INSTRUMENTED).env("CARGO_TARGET_DIR", target.join("fuzz"));
    cargo.args(["build", "--release", "--package", "fuzz-tests", "--features", "coverage"]);
    // With the target named, build scripts and macros are not instrumented.
    cargo.args(["--bin", "kontiki-fuzz", "--target", &host]);
    if let Some(engine) = compiled_engine(&target) {
        cargo.env("ROCKSDB_LIB_DIR", engine).env("ROCKSDB_STATIC", "1");
    }
    ensure!(cargo.status().context("running cargo build")?.success(), "the fuzz targets do not compile");
    Ok(target.join("fuzz").join(host).join("release/kontiki-fuzz"))
}

/// The storage engine's C++ as the release build compiled it: it takes ten minutes and is not what is fuzzed.
fn compiled_engine(target: &Path) -> Option<PathBuf> {
    let builds = std::fs::read_dir(target.join("release/build")).ok()?;
    let outputs = builds.filter_map(|build| Some(build.ok()?.path().join("out")));
    outputs.into_iter().find(|out| out.join("librocksdb.a").exists())
}

fn host() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("running rustc")?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

fn target_directory(root: &Path) -> anyhow::Result<PathBuf> {
    let configured = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    Ok(root.join(configured.unwrap_or_else(|| "target".into())))
}

/// Runs one target; returns whether it found nothing.
fn fuzz(root: &Path, program: &Path, name: &str, options: &Options) -> anyhow::Result<bool> {
    let found = root.join("tests/fuzz/corpus").join(name);
    let corpus = root.join(&options.corpus).join(name);
    std::fs::create_dir_all(&found)?;
    let status = Command::new(program)
        .env("KONTIKI_FUZZ_TARGET", name)
        .args([&corpus, &found])
        .arg(format!("-max_total_time={}", options.seconds))
        .arg(format!("-timeout={INPUT_S_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .args(["-print_final_stats=1", "-verbosity=1"])
        .status()
        .with_context(|| format!("running {}", program.display()))?;
    // An empty folder is not worth keeping.
    let _not_empty = std::fs::remove_dir(&found);
    Ok(status.success())
}
