//! An oracle that has never cried wolf proves nothing: each known defect must be caught, and soon.

use sim::{Defect, Subject, run};

/// The first seed that shows the defect.
fn caught(subject: Subject, seeds: u64) -> Option<u64> {
    (0..seeds).find(|seed| run(*seed, subject).is_err())
}

fn assert_caught(defect: Defect, within: u64) {
    let seed = caught(Subject::Spoiled(defect), within);
    assert!(seed.is_some(), "{defect:?} passes {within} seeds unnoticed");
}

#[test]
fn a_dropped_batch_is_noticed() {
    assert_caught(Defect::DropDeliver, 100);
}

#[test]
fn a_batch_delivered_twice_is_noticed() {
    assert_caught(Defect::DuplicateDeliver, 50);
}

#[test]
fn two_frames_in_the_wrong_order_are_noticed() {
    assert_caught(Defect::SwapFrames, 400);
}

#[test]
fn a_fence_answered_too_early_is_noticed() {
    assert_caught(Defect::EarlyFence, 400);
}

#[test]
fn lost_interest_is_noticed_from_outside() {
    assert_caught(Defect::LoseInterest, 100);
}

#[test]
fn a_chunk_written_twice_is_noticed() {
    assert_caught(Defect::DuplicateChunk, 20);
}

#[test]
fn a_lost_pong_is_noticed() {
    assert_caught(Defect::DropPong, 20);
}

#[test]
fn a_lost_message_is_noticed() {
    assert_caught(Defect::DropMessage, 100);
}

#[test]
fn a_message_in_another_account_is_noticed() {
    assert_caught(Defect::WrongAccount, 100);
}

#[test]
fn a_message_sent_to_somebody_who_may_not_have_it_is_missed() {
    assert_caught(Defect::SureOfAll, 100);
}

#[test]
fn gaps_in_the_walls_are_noticed() {
    for defect in [Defect::OpenSubscriptions, Defect::OpenPublications, Defect::OpenStreams] {
        assert_caught(defect, 50);
    }
}

#[test]
fn access_that_stays_as_it_was_is_noticed() {
    assert_caught(Defect::StaleAccess, 100);
    assert_caught(Defect::UntoldShard, 400);
}

#[test]
fn answers_that_are_not_allowed_or_not_counted_are_noticed() {
    assert_caught(Defect::NoAnswers, 100);
    assert_caught(Defect::EndlessAnswers, 200);
}

#[test]
fn answers_that_come_too_late_or_must_come_too_early_are_noticed() {
    assert_caught(Defect::LateAnswers, 200);
    assert_caught(Defect::HastyAnswers, 200);
}

#[test]
fn the_simple_bus_is_judged_as_strictly() {
    for defect in Defect::OF_CHUNKS {
        assert!(
            caught(Subject::SpoiledTable(defect), 100).is_some(),
            "{defect:?} passes unnoticed"
        );
    }
}
