//! Tests: what processes tell each other, and how they part.

use std::time::Duration;

use super::*;
use crate::error::PeerFailed;
use crate::signal::{Interrupted, Stop};

fn failed(text: &str) -> Leave {
    Leave::Failed { text: text.into(), numeric: false }
}

#[test]
fn shares_are_contiguous_and_differ_by_one_at_most() {
    for size in 1..6 {
        for n in 0..20 {
            let shares: Vec<_> = (0..size).map(|rank| share(rank, size, n)).collect();
            assert_eq!(shares.iter().cloned().flatten().collect::<Vec<_>>(), (0..n).collect::<Vec<_>>());
            let lengths = || shares.iter().map(|share| share.len());
            assert!(lengths().max() <= lengths().min().map(|least| least + 1), "{shares:?}");
        }
    }
}

#[test]
fn everybody_gets_everything_to_the_bit_in_the_order_of_ranks() {
    let all = in_threads(3, |world| {
        let mine = (world.rank(), f64::NAN, 0.1 + world.rank() as f64, vec![1u32; world.rank()]);
        let joined = world.join(world.share(10).map(|i| i * i).collect()).expect("joined");
        let first = world.from_first(world.is_first().then(|| "first".to_owned())).expect("told");
        (world.gather(mine).expect("gathered"), joined, first)
    });
    for (gathered, joined, first) in all {
        for (rank, (number, nan, exact, list)) in gathered.into_iter().enumerate() {
            assert_eq!((number, exact.to_bits(), list.len()), (rank, (0.1 + rank as f64).to_bits(), rank));
            assert!(nan.is_nan());
        }
        assert_eq!(joined, (0..10).map(|i| i * i).collect::<Vec<_>>());
        assert_eq!(first, "first");
    }
}

#[test]
fn sums_and_broadcasts_are_the_same_everywhere() {
    let all = in_threads(3, |world| {
        let mut values = [world.rank() as f32, 0.5];
        world.sum(&mut values).expect("summed");
        let mut first = [world.rank() as f32 + 7.0];
        world.broadcast(&mut first).expect("told");
        (values, first)
    });
    assert_eq!(all, [([3.0, 1.5], [7.0]); 3]);
}

#[test]
fn one_that_stops_takes_the_others_along_at_their_next_meeting() {
    let all = in_threads(3, |world| {
        if world.rank() == 1 {
            return world.part(Leave::Stopped);
        }
        let stop = Stop::default().within(&world);
        // as a loop does that is far from a meeting
        while !stop.requested() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(world.gather(0).expect_err("parted").is::<Interrupted>());
        world.part(failed("too late"))
    });
    assert!(all.iter().all(|parted| *parted == all[1] && parted.failure().is_none()), "{all:?}");
}

#[test]
fn a_failure_outweighs_a_stop_and_names_its_process() {
    let all = in_threads(3, |world| match world.rank() {
        0 => world.part(Leave::Stopped).failure().map(|(rank, text, _)| (rank, text.to_owned())),
        1 => world.gather(0).expect_err("parted").downcast_ref().map(|PeerFailed { rank }| (*rank, String::new())),
        _ => world.part(failed("disk full")).failure().map(|(rank, text, _)| (rank, text.to_owned())),
    });
    let told = |text: &str| Some((2, text.to_owned()));
    assert_eq!(all, [told("disk full"), told(""), told("disk full")]);
}

#[test]
fn there_is_no_meeting_after_the_last() {
    let all = in_threads(2, |world| {
        world.part(Leave::Stopped);
        world.gather(0).expect_err("parted").to_string()
    });
    assert!(all.iter().all(|text| text.contains("parted")), "{all:?}");
    assert!(!World::solo().is_parted() && World::solo().part(Leave::Stopped).failure().is_none());
}

#[test]
fn what_a_process_waits_and_adds_is_measured() {
    let all = in_threads(2, |world| {
        world.gather(0).expect("all are here");
        world.restart_times();
        if world.rank() == 1 {
            std::thread::sleep(Duration::from_millis(30));
        }
        world.gather(0).expect("all are here");
        world.sum(&mut [1.0]).expect("summed");
        world.times()
    });
    assert!(all[0].waiting > 0.02 && all.iter().all(|times| times.reducing > 0.0), "{all:?}");
}
