//! Both back ends against the same expectations.

use super::{Compacted, MemoryStore, RedbStore, Store, StoreError, Transaction};

fn each(check: impl Fn(&dyn Store)) {
    check(&MemoryStore::default());
    let directory = tempfile::tempdir().unwrap();
    check(&RedbStore::open(&directory.path().join("store.redb")).unwrap());
}

fn put(store: &dyn Store, key: &str, value: &str) -> u64 {
    store.commit(Transaction::default().put(key, value)).unwrap()
}

#[test]
fn values_are_read_back_with_the_revision_that_wrote_them() {
    each(|store| {
        assert_eq!(store.get("a").unwrap(), None);
        let first = put(store, "a", "1");
        let second = put(store, "b", "2");
        assert_eq!((first, second), (1, 2));
        let stored = store.get("a").unwrap().unwrap();
        assert_eq!((stored.value.as_slice(), stored.revision), (b"1".as_slice(), 1));
        assert_eq!(store.revision(), 2);
    });
}

#[test]
fn listings_hold_the_prefix_and_nothing_else() {
    each(|store| {
        for key in ["a/2", "a/1", "ab", "b/1", "a"] {
            put(store, key, key);
        }
        let listing = store.list("a/").unwrap();
        let keys: Vec<&str> = listing.entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["a/1", "a/2"]);
        assert_eq!(listing.revision, 5);
    });
}

#[test]
fn a_transaction_happens_whole_or_not_at_all() {
    each(|store| {
        let revision = put(store, "a", "1");
        let refused =
            store.commit(Transaction::default().require("a", revision + 7).put("a", "2").delete("a"));
        assert!(matches!(refused, Err(StoreError::Conflict { found: 1, wanted: 8, .. })), "{refused:?}");
        let refused = store.commit(Transaction::default().require("a", 0).put("b", "2"));
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
        assert_eq!(store.get("b").unwrap(), None);
        assert_eq!(store.revision(), revision);
        let done =
            Transaction::default().require("a", revision).require("b", 0).put("b", "2").delete("a").clone();
        assert_eq!(store.commit(&done).unwrap(), revision + 1);
        assert_eq!(store.get("a").unwrap(), None);
    });
}

#[test]
fn limits_hold() {
    each(|store| {
        let large = vec![0; super::VALUE_BYTES_MAX + 1];
        let refused = store.commit(Transaction::default().put("a", large));
        assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{refused:?}");
        let mut many = Transaction::default();
        for _ in 0..=super::OPERATIONS_MAX {
            many.delete("a");
        }
        assert!(matches!(store.commit(&many), Err(StoreError::TooLarge { .. })));
    });
}

#[tokio::test]
async fn a_watch_sees_changes_in_order_and_only_its_prefix() {
    for store in [Box::new(MemoryStore::default()) as Box<dyn Store>] {
        put(store.as_ref(), "a/1", "before");
        let mut watch = store.watch("a/", store.revision());
        assert_eq!(watch.pending().unwrap(), []);
        put(store.as_ref(), "b/1", "other");
        put(store.as_ref(), "a/2", "new");
        store.commit(Transaction::default().delete("a/1")).unwrap();
        let events = watch.next().await.unwrap();
        let seen: Vec<(u64, &str, bool)> =
            events.iter().map(|event| (event.revision, event.key.as_str(), event.value.is_some())).collect();
        assert_eq!(seen, [(3, "a/2", true), (4, "a/1", false)]);
        assert_eq!(watch.pending().unwrap(), []);
    }
}

#[test]
fn a_watch_that_fell_behind_is_told() {
    let store = MemoryStore::default();
    let mut behind = store.watch("", 0);
    for number in 0..=super::event_log::EVENTS_MAX {
        put(&store, "a", &number.to_string());
    }
    assert_eq!(behind.pending(), Err(Compacted { wanted: 0, oldest: 1 }));
    let mut current = store.watch("", store.revision() - 1);
    assert_eq!(current.pending().unwrap().len(), 1);
}

#[test]
fn the_log_is_bounded_in_bytes_too() {
    let store = MemoryStore::default();
    let mut behind = store.watch("", 0);
    let large = "x".repeat(super::VALUE_BYTES_MAX);
    for _ in 0..65 {
        put(&store, "a", &large);
    }
    assert!(behind.pending().is_err(), "64 MiB are kept, not 16,384 values of one");
    let mut current = store.watch("", store.revision() - 60);
    assert_eq!(current.pending().unwrap().len(), 60);
}

#[test]
fn a_commit_that_is_partly_out_of_the_log_is_gone_whole() {
    each(|store| {
        // Three changes of one revision, then as many as push the first of the three out.
        let three = Transaction::default().put("a/1", "1").put("a/2", "1").put("a/3", "1").clone();
        let revision = store.commit(&three).unwrap();
        let mut before = store.watch("a/", revision - 1);
        let mut after = store.watch("a/", revision);
        let mut many = Transaction::default();
        for number in 0..super::event_log::EVENTS_MAX / 2 - 1 {
            many.put(format!("b/{number}"), "1");
        }
        store.commit(&many).unwrap();
        assert_eq!(store.watch("a/", revision - 1).pending().unwrap().len(), 3, "all is there still");
        store.commit(&many).unwrap();
        assert_eq!(before.pending(), Err(Compacted { wanted: revision - 1, oldest: revision }));
        assert_eq!(after.pending().unwrap(), [], "who has seen it misses nothing");
        // Told so, a reader lists and goes on from there, and sees every later change once.
        let listing = store.list("a/").unwrap();
        let mut anew = store.watch("a/", listing.revision);
        store.commit(Transaction::default().delete("a/1").put("a/4", "2")).unwrap();
        let seen: Vec<(String, bool)> =
            anew.pending().unwrap().into_iter().map(|event| (event.key, event.value.is_some())).collect();
        assert_eq!(seen, [("a/1".to_owned(), false), ("a/4".to_owned(), true)]);
        assert_eq!(anew.pending().unwrap(), []);
    });
}

#[test]
fn the_file_keeps_everything_and_lets_one_process_in() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = RedbStore::open(&path).unwrap();
    put(&store, "a", "1");
    assert!(matches!(RedbStore::open(&path), Err(StoreError::InUse { .. })));
    drop(store);
    let store = RedbStore::open(&path).unwrap();
    assert_eq!(store.get("a").unwrap().unwrap().value, b"1");
    assert_eq!(put(&store, "b", "2"), 2, "revisions go on after a restart");
    let mut watch = store.watch("", 0);
    assert!(watch.pending().is_err(), "changes before the restart are compacted");
}

#[test]
fn a_newer_schema_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let database = redb::Database::create(&path).unwrap();
    let write = database.begin_write().unwrap();
    write
        .open_table(redb::TableDefinition::<&str, u64>::new("properties"))
        .unwrap()
        .insert("schema_version", super::SCHEMA_VERSION + 1)
        .unwrap();
    write.commit().unwrap();
    drop(database);
    let refused = RedbStore::open(&path).unwrap_err();
    let newer = format!("schema version {}", super::SCHEMA_VERSION + 1);
    assert!(refused.to_string().contains(&newer), "{refused}");
}

/// A store as version 1 of the layout has it.
fn write_version_1(path: &std::path::Path, entries: &[(&str, &str)]) {
    let database = redb::Database::create(path).unwrap();
    let write = database.begin_write().unwrap();
    {
        let mut properties = write.open_table(redb::TableDefinition::<&str, u64>::new("properties")).unwrap();
        properties.insert("schema_version", 1).unwrap();
        properties.insert("revision", 7).unwrap();
        let mut table = write.open_table(redb::TableDefinition::<&str, &[u8]>::new("entries")).unwrap();
        for (key, value) in entries {
            table.insert(*key, [&5_u64.to_le_bytes(), value.as_bytes()].concat().as_slice()).unwrap();
        }
    }
    write.commit().unwrap();
}

#[test]
fn an_older_schema_is_brought_to_the_newest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let record = r#"{"id":"1","name":"a","generation":3,"spec":{"external":true},
        "keys":["claims/x","names/networks/a"]}"#;
    write_version_1(&path, &[("names/networks/a", "networks/1/a"), ("objects/networks/1", record)]);
    for _ in 0..2 {
        let store = RedbStore::open(&path).unwrap();
        assert_eq!(store.revision(), 7);
        let stored = store.get("objects/networks/1").unwrap().unwrap();
        assert_eq!(stored.revision, 5);
        let wanted = br#"{"id":"1","name":"a","generation":3,"spec":{"external":true},
            "keys":["claims/x","names/networks/default/a","shared/networks/a"],"labels":{},"project":"default"}"#;
        let value = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&stored.value), value(wanted));
        assert_eq!(store.get("names/networks/a").unwrap(), None);
        assert_eq!(store.get("names/networks/default/a").unwrap().unwrap().value, b"networks/1/a");
        assert_eq!(store.get("shared/networks/a").unwrap().unwrap().value, b"networks/1/a/default");
    }
}

#[test]
fn a_store_that_cannot_be_brought_to_the_newest_schema_stays_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    write_version_1(&path, &[("objects/networks/1", "{}"), ("objects/networks/2", "no JSON")]);
    for _ in 0..2 {
        let refused = RedbStore::open(&path).unwrap_err();
        let StoreError::Migration { source, .. } = &refused else { panic!("{refused:?}") };
        assert!(source.to_string().contains("`objects/networks/2`"), "{source}");
    }
    let database = redb::Database::open(&path).unwrap();
    let read = redb::ReadableDatabase::begin_read(&database).unwrap();
    let table = read.open_table(redb::TableDefinition::<&str, &[u8]>::new("entries")).unwrap();
    assert_eq!(&table.get("objects/networks/1").unwrap().unwrap().value()[8..], b"{}");
}
