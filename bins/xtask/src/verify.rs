//! `cargo xtask verify`: what CI runs, step by step, with what it does on the screen.

use std::process::Command;
use std::time::Instant;

use crate::cargo::passes;

/// Options of the task.
#[derive(clap::Args)]
pub struct Options {
    /// Run only the steps whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Go on after a step that failed, and fail at the end.
    #[arg(long)]
    keep_going: bool,
}

/// One thing to check.
struct Step {
    name: &'static str,
    arguments: &'static [&'static str],
    /// A cargo subcommand that may not be installed; the step is then skipped and says so.
    needs: Option<&'static str>,
    /// What is run in its place when it is not installed.
    instead: Option<&'static [&'static str]>,
}

// All in the release profile: what is tested is what runs, and the C++ engine is compiled once.
const STEPS: &[Step] = &[
    step("format", &["fmt", "--all", "--check"]),
    step("direction of dependencies", &["test", "--release", "--quiet", "--package", "tidy"]),
    step("programs", &["build", "--release", "--workspace", "--bins", "--examples"]),
    step(
        "lints",
        &["clippy", "--release", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"],
    ),
    Step {
        name: "tests",
        arguments: &["nextest", "run", "--cargo-profile", "release", "--workspace"],
        needs: Some("nextest"),
        instead: Some(&["test", "--release", "--workspace", "--quiet", "--lib", "--bins", "--tests"]),
    },
    step("documentation tests", &["test", "--release", "--workspace", "--quiet", "--doc"]),
    Step {
        name: "licences and advisories",
        arguments: &["deny", "check"],
        needs: Some("deny"),
        instead: None,
    },
];

/// What switches on the tests with the etcd-client crate, which is compiled with `protoc`.
const WITH_PROTOC: [&str; 2] = ["--features", "etcd-tests/etcd-client"];

const fn step(name: &'static str, arguments: &'static [&'static str]) -> Step {
    Step { name, arguments, needs: None, instead: None }
}

/// Runs the steps; fails if one does.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let wanted = |step: &&Step| options.only.as_ref().is_none_or(|only| step.name.contains(only));
    let steps: Vec<&Step> = STEPS.iter().filter(wanted).collect();
    anyhow::ensure!(!steps.is_empty(), "no step is named so; there are: {}", names());
    let mut failed = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        println!("[{}/{}] {}", at + 1, steps.len(), step.name);
        let begin = Instant::now();
        let Some(arguments) = arguments(step) else {
            println!("      skipped: cargo-{} is not installed", step.needs.unwrap_or_default());
            continue;
        };
        let passed = passes(&arguments)?;
        println!("      {} in {:.1} s", if passed { "ok" } else { "FAILED" }, begin.elapsed().as_secs_f64());
        if !passed {
            failed.push(step.name);
            if !options.keep_going {
                break;
            }
        }
    }
    anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn names() -> String {
    STEPS.iter().map(|step| step.name).collect::<Vec<_>>().join(", ")
}

fn arguments(step: &Step) -> Option<Vec<&'static str>> {
    let mut arguments = match step.needs {
        Some(tool) if !is_installed(tool) => step.instead?.to_vec(),
        _ => step.arguments.to_vec(),
    };
    // In every step that compiles all packages, so that none compiles anything anew.
    if let Some(at) = arguments.iter().position(|argument| *argument == "--workspace")
        && protoc_works()
    {
        arguments.splice(at..at, WITH_PROTOC);
    }
    Some(arguments)
}

/// Whether there is a `protoc` that finds what all else imports: Debian has those files in another package.
fn protoc_works() -> bool {
    let source = std::env::temp_dir().join(format!("kontiki-{}.proto", std::process::id()));
    let text = "syntax = \"proto3\"; import \"google/protobuf/descriptor.proto\";";
    let mut protoc = Command::new("protoc");
    protoc.arg("--descriptor_set_out=/dev/null").arg("-I").arg(std::env::temp_dir()).arg(&source);
    let works =
        std::fs::write(&source, text).is_ok() && protoc.output().is_ok_and(|output| output.status.success());
    drop(std::fs::remove_file(source));
    works
}

fn is_installed(subcommand: &str) -> bool {
    let output = Command::new(env!("CARGO")).args([subcommand, "--version"]).output();
    output.is_ok_and(|output| output.status.success())
}
