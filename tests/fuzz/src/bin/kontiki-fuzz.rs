//! libFuzzer on one target, named by the environment variable `KONTIKI_FUZZ_TARGET`. Built by `cargo xtask fuzz`.

#![no_main]
#![expect(unsafe_code, reason = "libFuzzer calls a C symbol")]

use std::sync::LazyLock;

static TARGET: LazyLock<&fuzz_tests::Target> = LazyLock::new(|| {
    let name = std::env::var("KONTIKI_FUZZ_TARGET").unwrap_or_default();
    fuzz_tests::target(&name).unwrap_or_else(|| panic!("KONTIKI_FUZZ_TARGET={name} is no target"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
