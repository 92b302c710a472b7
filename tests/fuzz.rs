//! Files and answers that somebody else made, changed at random: whatever comes, a parser gives a value or an error, soon,
//! without a panic and without taking the machine's memory.
//!
//! Seeds are small valid inputs; every input is a function of target and number, so that a failure comes back. It is kept
//! as a file in `tests/fixtures/hostile/fuzz`, which this test reads first. `SPG_FUZZ_MINUTES` makes it long (all targets
//! share the time), `SPG_FUZZ_TARGET` limits it to one, `SPG_FUZZ_SEED` draws other inputs; see `scripts/fuzz.sh`.

#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/targets.rs"]
mod targets;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use spg::runtime::peak_memory_mib;

use mutate::Mutator;
use targets::{TARGETS, Target};

/// The most time an input may take.
const SLOW: Duration = Duration::from_secs(20);
/// The most memory that an input may take beside what was taken before.
const LARGE_MIB: f64 = 1024.0;

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hostile/fuzz")
}

/// What is wrong with how a target takes some inputs, if anything is.
fn fault(target: &Target, inputs: &[Vec<u8>]) -> Option<String> {
    let dir = tempfile::tempdir().expect("a folder");
    let (before, started) = (peak_memory_mib().unwrap_or(0.0), Instant::now());
    let result = std::panic::catch_unwind(|| inputs.iter().filter(|input| (target.take)(dir.path(), input)).count());
    let (time, taken) = (started.elapsed(), peak_memory_mib().unwrap_or(0.0) - before);
    match result {
        Err(_) => Some("it panics".into()),
        Ok(_) if time > SLOW => Some(format!("it takes {:.0} s", time.as_secs_f64())),
        Ok(_) if taken > LARGE_MIB => Some(format!("it takes {taken:.0} MiB")),
        Ok(_) => None,
    }
}

/// Keeps an input that does harm and says where.
fn keep(target: &Target, input: &[u8], number: u64, fault: &str) -> String {
    std::fs::create_dir_all(kept()).expect("a folder");
    let path = kept().join(format!("{}-{number}", target.name));
    std::fs::write(&path, input).expect("kept");
    format!("{}: {fault}; kept as {}", target.name, path.display())
}

fn wanted(target: &Target) -> bool {
    std::env::var("SPG_FUZZ_TARGET").map_or(true, |name| name.is_empty() || name == target.name)
}

fn number(name: &str) -> Option<f64> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(|text| text.parse().expect("a number"))
}

#[test]
fn every_parser_takes_whatever_comes() {
    let minutes = number("SPG_FUZZ_MINUTES");
    let first = number("SPG_FUZZ_SEED").map_or(0, |seed| seed as u64) << 32;
    let targets: Vec<&Target> = TARGETS.iter().filter(|target| wanted(target)).collect();
    assert!(!targets.is_empty(), "SPG_FUZZ_TARGET names no target");
    let share = minutes.map(|minutes| Duration::from_secs_f64(60.0 * minutes / targets.len() as f64));
    let mut faults = Vec::new();
    for target in targets {
        let mutator = Mutator::new((target.seeds)());
        let started = Instant::now();
        let goes_on = |n: usize| share.map_or(n < target.inputs, |share| started.elapsed() < share);
        let mut tried = 0;
        while goes_on(tried) {
            let numbers = first + tried as u64..first + (tried + target.together) as u64;
            let inputs: Vec<Vec<u8>> = numbers.clone().map(|number| mutator.input(target.name, number)).collect();
            tried += inputs.len();
            let Some(of_all) = fault(target, &inputs) else { continue };
            let alone = numbers.clone().zip(&inputs);
            let found =
                alone.filter_map(|(number, input)| Some((number, input, fault(target, std::slice::from_ref(input))?)));
            let kept = found.map(|(number, input, fault)| keep(target, input, number, &fault)).next();
            faults.push(kept.unwrap_or_else(|| format!("{}: inputs {numbers:?} together: {of_all}", target.name)));
            break;
        }
        println!("{:24} {tried} inputs in {:.1} s", target.name, started.elapsed().as_secs_f64());
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_was_found_once_does_no_harm() {
    for entry in std::fs::read_dir(kept()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let target = TARGETS.iter().find(|target| name.rsplit_once('-').is_some_and(|(of, _)| of == target.name));
        let target = target.unwrap_or_else(|| panic!("{name} is named after no target"));
        let input = std::fs::read(entry.path()).expect("a file");
        assert_eq!(fault(target, &[input]), None, "{name}");
    }
}

#[test]
fn seeds_are_taken_as_what_they_are() {
    for target in TARGETS {
        for (i, seed) in (target.seeds)().into_iter().enumerate() {
            let dir = tempfile::tempdir().expect("a folder");
            assert!((target.take)(dir.path(), &seed), "seed {i} of {} is no good", target.name);
        }
    }
}
