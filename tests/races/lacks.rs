//! Each lock and each check once taken out of the database's functions: the plays must then meet what it keeps away, and no
//! other lock or check may hide that. What two of them keep away together is taken out together, and said so here.

use rand::{SeedableRng, rngs::StdRng};
use sqlx::AssertSqlSafe;

use super::scene::{Act, Kind, Stage};

/// More plays than any of them needs.
const ENOUGH: u64 = 120;

/// A function without one of its lines.
struct Lack {
    /// Function, the text that goes, and what stands in its place.
    without: &'static [(&'static str, &'static str, &'static str)],
    /// Where it is missed.
    kinds: &'static [Kind],
    act: Act,
    /// What is seen then.
    seen: &'static str,
}

impl Stage {
    async fn lacks(&self, lack: &Lack) {
        for (function, line, instead) in lack.without {
            let body: String = sqlx::query_scalar("select pg_get_functiondef($1::regproc)")
                .bind(format!("safelight.{function}"))
                .fetch_one(&self.app.db)
                .await
                .unwrap();
            assert!(body.contains(line), "{function} has no `{line}`:\n{body}");
            sqlx::raw_sql(AssertSqlSafe(body.replace(line, instead))).execute(&self.app.db).await.unwrap();
        }
    }
}

/// Play until it is seen.
#[expect(clippy::print_stdout, reason = "run by hand, and it tells what was seen")]
async fn is_missed(lack: Lack) {
    let stage = Stage::set().await;
    stage.lacks(&lack).await;
    for seed in 0..ENOUGH {
        let mut dice = StdRng::seed_from_u64(seed);
        let kind = lack.kinds[usize::try_from(seed).unwrap() % lack.kinds.len()];
        let played = stage.plays(kind, lack.act, &mut dice).await;
        if let Some(seen) = played.wrong.iter().find(|wrong| wrong.contains(lack.seen)) {
            println!("seed {seed}, {kind:?} against {:?}: {seen}", lack.act);
            return;
        }
        assert!(played.wrong.is_empty(), "seed {seed}, {kind:?}: {:?} instead of `{}`", played.wrong, lack.seen);
    }
    panic!("{:?} is not missed in {ENOUGH} plays", lack.without);
}

const SHARE: &str = "pg_advisory_xact_lock_shared(7301, hashtext(p_subject::text))";
const OWN: &str = "pg_advisory_xact_lock(7301, hashtext(p_subject::text))";

macro_rules! lacks {
    ($($name:ident: $without:expr, $kinds:expr, $act:ident => $seen:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        #[ignore = "./dev races plays without each lock and check"]
        async fn $name() {
            is_missed(Lack { without: &$without, kinds: &$kinds, act: Act::$act, seen: $seen }).await;
        }
    )*};
}

lacks! {
    without_the_share_of_the_persons_lock_a_withdrawal_is_overtaken:
        [("share_subject", SHARE, "null")], [Kind::Forgetful], WithdrawComparing => "vector after withdrawn compare";
    without_the_share_of_the_persons_lock_an_erasure_is_overtaken:
        [("share_subject", SHARE, "null")], [Kind::Forgetful], Erase => "after erased";
    without_the_owners_lock_a_withdrawal_overtakes:
        [("own_subject", OWN, "null")], [Kind::Forgetful], WithdrawTraining => "after withdrawn train";
    without_the_owners_lock_an_erasure_overtakes:
        [("own_subject", OWN, "null")], [Kind::Forgetful], Erase => "after erased";
    without_the_look_at_the_withdrawal_the_gate_is_open:
        [("pass_gate", "if latest.event <> 'granted' then a.code := 'consent_withdrawn'; return a; end if;", "")],
        [Kind::Forgetful], WithdrawComparing => "vector after withdrawn compare";
    without_the_look_at_the_persons_state_the_gate_is_open:
        [("pass_gate", "if s.state in ('erasing', 'erased') then a.code := 'subject_erased'; return a; end if;", "")],
        [Kind::Forgetful], Erase => "row of a upload after erased";
    without_the_look_at_the_orders_state_the_gate_is_open:
        [("pass_gate", "if o.state in ('refused', 'expired', 'refund_review') then a.code := 'order_stopped'; return a; end if;", "")],
        [Kind::Forgetful], WithdrawTraining => "image after withdrawn train";
    without_the_gates_word_a_handler_that_does_not_look_records:
        [("must_pass", "if a.code is not null then", "if false then")], [Kind::Forgetful], WithdrawTraining => "row of a model after withdrawn train";
    without_the_gate_at_the_acceptance_a_request_stays:
        [("record_request", "cancel_wanted or a.code is not null or", "cancel_wanted or"),
         ("record_request", "(a.code is not null or state = 'refused') and", "state = 'refused' and")],
        [Kind::GenerateBatch], WithdrawTraining => "accepted generate after withdrawn train";
    without_the_proof_of_the_lease_a_new_consent_covers_an_old_attempt:
        [("holds_lease", "return found", "return true")],
        [Kind::MeasureSelfies], WithdrawComparingAndAgreeAgain => "vector after withdrawn compare";
    without_cancelling_its_jobs_a_withdrawal_is_not_heard:
        [("withdraw_consent", "v_cancelled := safelight.cancel_jobs(p_subject, p_kinds, 'consent_withdrawn');", "v_cancelled := 0;")],
        [Kind::CompareFaces], WithdrawComparing => "score after withdrawn compare";
    without_cancelling_its_jobs_an_erasure_is_not_heard:
        [("fence_subject", "perform safelight.cancel_jobs(p_subject, null, 'subject_erased');", "")],
        [Kind::CompareFaces], Erase => "score after erased";
    without_marking_calls_in_flight_a_withdrawn_training_stays_at_fal:
        [("withdraw_consent", "where subject_id = p_subject and purpose = p_purpose;", "where false;")],
        [Kind::TrainModel], WithdrawTraining => "stays at Fal";
    without_marking_calls_in_flight_an_erased_persons_requests_stay_at_fal:
        [("fence_subject", "case when purge = 'purged' then purge else 'wanted' end", "purge")],
        [Kind::CheckImage], Erase => "stays at Fal";
}
