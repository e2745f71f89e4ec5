//! Stripe's two modes: a key says which one it is of, and a process that reads the other one's money does not start.

/// Does the key fit the mode that the process takes money in? A key that does not say its mode fits both.
pub(super) fn fits(key: &str, livemode: bool) -> anyhow::Result<()> {
    let is = |mode: &str| ["sk", "rk"].iter().any(|kind| key.starts_with(&format!("{kind}_{mode}_")));
    anyhow::ensure!(
        livemode || !is("live"),
        "STRIPE_SECRET_KEY is a live key and STRIPE_LIVEMODE is not true, so every paid order would be refused; set STRIPE_LIVEMODE=true for every process"
    );
    anyhow::ensure!(
        !livemode || !is("test"),
        "STRIPE_SECRET_KEY is a test key and STRIPE_LIVEMODE is true, so every paid order would be refused; use a live key, or leave STRIPE_LIVEMODE out"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_other_mode_stops_the_start_and_is_not_printed() {
        for (key, fitting) in [
            ("sk_live_planted", true),
            ("rk_live_planted", true),
            ("sk_test_planted", false),
            ("rk_test_planted", false),
        ] {
            assert!(fits(key, fitting).is_ok(), "{key}");
            let said = fits(key, !fitting).expect_err(key).to_string();
            assert!(said.contains("STRIPE_LIVEMODE") && !said.contains("planted"), "{said}");
        }
        assert!(fits("a_proxys_own", true).is_ok() && fits("a_proxys_own", false).is_ok());
    }
}
