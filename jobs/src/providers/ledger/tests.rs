use super::*;

const ONE: &str = "1111111111111111111111111111111111111111111111111111111111111111";

#[tokio::test]
async fn an_entry_is_read_as_it_was_written_and_twice_is_once() {
    let folder = std::env::temp_dir().join(format!("safelight-ledger-{}", Uuid::new_v4().simple()));
    let keys = |master| crate::vault::Vault::new(master).unwrap().ledger_keys();
    let ledger = Ledger::folder(&folder, keys(ONE)).unwrap();
    let entry = |at, act| LedgerEntry { at, tenant: "koselfie".to_owned(), subject: Uuid::new_v4().into(), act };
    let entries = [
        entry(1_760_000_000, Act::Erasure),
        entry(1_790_000_000, Act::Withdrawal(Purpose::Train)),
        entry(1_795_000_000, Act::Objection(Purpose::Nsfw)),
        entry(1_800_000_000, Act::Photo(Id::new())),
        entry(1_800_000_001, Act::Restriction(Ground::Accuracy)),
        entry(1_800_000_002, Act::Restriction(Ground::Claims(DateTime::from_timestamp(1_900_000_000, 0).unwrap()))),
        entry(1_800_000_003, Act::Release),
    ];
    for entry in entries.iter().rev().chain(&entries) {
        ledger.write(entry).await.unwrap();
    }
    assert_eq!(ledger.entries().await.unwrap(), entries);
    std::fs::write(folder.join("ann"), "x").unwrap();
    assert_eq!(ledger.entries().await, Err(LedgerError::Unreadable));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn n17_an_entry_counts_only_with_the_code_of_a_master_key_that_is_held() {
    let folder = std::env::temp_dir().join(format!("safelight-ledger-{}", Uuid::new_v4().simple()));
    let one = crate::vault::Vault::new(ONE).unwrap();
    let ledger = Ledger::folder(&folder, one.ledger_keys()).unwrap();
    let entry = |act| LedgerEntry { at: 1_760_000_000, tenant: "koselfie".into(), subject: Id::new(), act };
    let (true_one, forged) = (entry(Act::Release), entry(Act::Erasure));
    ledger.write(&true_one).await.unwrap();
    let signed = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    let code = signed.split_once('.').unwrap().1;
    let other = code.replace(|digit: char| digit.is_ascii_digit(), "a");
    for (name, why) in [
        (forged.to_string(), Unsigned::NoCode),
        (format!("{forged}.{code}"), Unsigned::Altered),
        (format!("{forged}.x"), Unsigned::Altered),
        (format!("{forged}."), Unsigned::Altered),
        (format!("{forged}.{other}"), Unsigned::OtherKey),
    ] {
        std::fs::write(folder.join(&name), "x").unwrap();
        let LedgerEntry { at, subject, act, .. } = forged;
        let refused = LedgerError::Foreign { at, subject, act, why, count: 1 };
        assert!(refused.to_string().contains(&subject.to_string()), "it is named");
        assert_eq!(ledger.entries().await, Err(refused.clone()), "{name}");
        let unsigned_too = ledger.clone().with_unsigned().entries().await;
        assert_eq!(unsigned_too.is_ok(), why == Unsigned::NoCode, "{name}: {unsigned_too:?}");
        std::fs::remove_file(folder.join(&name)).unwrap();
    }
    // An older entry, which a person has signed after a look; and a key that is replaced.
    std::fs::write(folder.join(forged.to_string()), "x").unwrap();
    assert_eq!(ledger.clone().with_unsigned().sign_anew().await.unwrap(), 1);
    assert_eq!(ledger.entries().await.unwrap().len(), 2);
    let two = crate::vault::Vault::new(&ONE.replace('1', "2")).unwrap();
    let alone = Ledger::folder(&folder, two.ledger_keys()).unwrap();
    assert!(matches!(alone.entries().await, Err(LedgerError::Foreign { count: 2, .. })));
    let both = Ledger::folder(&folder, two.clone().with_former(ONE).unwrap().ledger_keys()).unwrap();
    assert_eq!((both.entries().await.unwrap().len(), both.sign_anew().await.unwrap()), (2, 2));
    assert_eq!((alone.entries().await.unwrap().len(), alone.sign_anew().await.unwrap()), (2, 0));
    std::fs::remove_dir_all(&folder).unwrap();
}
