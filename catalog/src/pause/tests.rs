use std::time::Duration;

use super::Pauses;
use crate::tables::Table;

#[derive(Clone, Copy, Debug)]
enum Step {
    Lost,
    Won,
    Ask(u64),
    Resume,
    /// Nothing happens; only the expectation counts.
    Look,
}

const SECOND_US: i64 = 1_000_000;

/// Steps at seconds, each with the second until which the table is paused after it.
fn check(steps: &[(i64, Step, Option<i64>)]) {
    let pauses = Pauses::default();
    for (at, step, expected) in steps {
        let now_us = at * SECOND_US;
        match step {
            Step::Lost => pauses.guest_lost(Table::Events, now_us),
            Step::Won => pauses.guest_won(Table::Events, now_us),
            Step::Ask(seconds) => {
                pauses.pause(Table::Events, now_us, Duration::from_secs(*seconds));
            }
            Step::Resume => pauses.resume(Table::Events, now_us),
            Step::Look => {}
        }
        let until = pauses.paused_until(Table::Events, now_us).map(|us| us / SECOND_US);
        assert_eq!(until, *expected, "after {step:?} at {at} of {steps:?}");
        assert_eq!(pauses.is_paused(Table::Events, now_us), expected.is_some());
        assert!(!pauses.is_paused(Table::DeadLetter, now_us), "the other table");
    }
}

#[test]
fn guests_pause_us_for_a_minute_and_at_most_half_of_the_time() {
    use Step::{Look, Lost, Won};
    check(&[(1_000, Look, None)]);
    check(&[(1_000, Lost, Some(1_060)), (1_059, Look, Some(1_060)), (1_060, Look, None)]);
    // Losing again does not prolong it, and after it as much time is ours.
    check(&[
        (1_000, Lost, Some(1_060)),
        (1_030, Lost, Some(1_060)),
        (1_060, Lost, None),
        (1_119, Lost, None),
        (1_120, Lost, Some(1_180)),
    ]);
    // A commit of the guest ends it early, and the time after it is as short.
    check(&[(1_000, Lost, Some(1_060)), (1_005, Won, None), (1_009, Lost, None), (1_010, Lost, Some(1_070))]);
    check(&[(1_000, Won, None), (1_001, Lost, Some(1_061))]);
    // A clock that was set back does not prolong it.
    check(&[(1_000, Lost, Some(1_060)), (500, Look, None), (500, Lost, Some(560))]);
}

#[test]
fn a_person_pauses_us_for_an_hour_at_most() {
    use Step::{Ask, Look, Lost, Resume, Won};
    check(&[(1_000, Ask(600), Some(1_600)), (1_599, Look, Some(1_600)), (1_600, Look, None)]);
    check(&[(1_000, Ask(1_000_000), Some(4_600))]);
    check(&[(1_000, Ask(600), Some(1_600)), (1_010, Ask(5), Some(1_015))]);
    check(&[(1_000, Ask(600), Some(1_600)), (1_010, Resume, None)]);
    check(&[(1_000, Ask(600), Some(1_600)), (1_010, Lost, Some(1_600)), (1_020, Won, Some(1_600))]);
    check(&[(1_000, Ask(10), Some(1_010)), (1_005, Lost, Some(1_065)), (1_006, Resume, None)]);
}

#[test]
fn no_order_of_losses_pauses_us_for_more_than_half_of_the_time() {
    for every in [1, 7, 13, 59, 61, 90] {
        let pauses = Pauses::default();
        let seconds = 10_000;
        let mut paused = 0;
        for now in 0..seconds {
            if now % every == 0 {
                pauses.guest_lost(Table::Events, now * SECOND_US);
            }
            if every == 13 && now % 39 == 20 {
                pauses.guest_won(Table::Events, now * SECOND_US);
            }
            paused += i64::from(pauses.is_paused(Table::Events, now * SECOND_US));
        }
        assert!(paused * 2 <= seconds + 60, "a loss every {every} s: {paused} s of {seconds}");
        assert!(paused > 0);
    }
}
