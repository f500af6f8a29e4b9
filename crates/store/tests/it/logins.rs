//! What people and scripts log in with: passwords, second factors, sessions, set-up links, tokens; and the audit log.

use store::{
    AccountId, Asked, AuditQuery, ErrorKind, NewAuditEntry, NewToken, NewWebSession, Role, Scope, Store, StoreError,
    Sweep, TokenId, UnixMs, WebSessionId,
};

use crate::props::*;

#[test]
fn passwords_are_set_and_found_by_name() {
    let world = World::new();
    let store = world.open();
    let account = store.create_account("lovelace", Role::Member, NOW).unwrap();
    assert!(store.password("nobody").unwrap().is_none());
    let found = store.password("lovelace").unwrap().unwrap();
    assert_eq!((found.account.id, found.account.role, found.hash), (account, Role::Member, None));
    store.set_password(account, "$argon2id$one").unwrap();
    store.set_password(account, "$argon2id$two").unwrap();
    assert_eq!(store.password("lovelace").unwrap().unwrap().hash.as_deref(), Some("$argon2id$two"));
    assert_eq!(store.set_password(AccountId(99), "x").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn tokens_are_made_used_and_revoked() {
    let world = World::new();
    let store = world.open();
    let account = store.create_account("lovelace", Role::Member, NOW).unwrap();
    let id = TokenId::from_bytes([1; 8]);
    let (token_hash, expires) = ([2; 32], Some(UnixMs(NOW.0 + 5)));
    let new = NewToken { id, account, name: "script", token_hash, scope: Scope::Read, expires };
    store.create_token(&new, NOW).unwrap();
    assert_eq!(store.create_token(&new, NOW).unwrap_err().kind(), ErrorKind::Conflict);
    let stray = NewToken { id: TokenId::from_bytes([3; 8]), account: AccountId(99), ..new };
    assert_eq!(store.create_token(&stray, NOW).unwrap_err().kind(), ErrorKind::NotFound);
    let token = store.token(id).unwrap().unwrap();
    assert_eq!((token.account.name.as_str(), token.token_hash, token.scope), ("lovelace", token_hash, Scope::Read));
    assert_eq!((token.created, token.expires, token.last_used, token.revoked), (NOW, expires, None, None));
    store.touch_token(id, UnixMs(NOW.0 + 1)).unwrap();
    store.revoke_token(id, UnixMs(NOW.0 + 2)).unwrap();
    store.revoke_token(id, UnixMs(NOW.0 + 3)).unwrap();
    let token = &store.tokens(account).unwrap()[0];
    assert_eq!((token.last_used, token.revoked), (Some(UnixMs(NOW.0 + 1)), Some(UnixMs(NOW.0 + 2))));
    assert_eq!(store.revoke_token(TokenId::from_bytes([9; 8]), NOW).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(store.token(TokenId::from_bytes([9; 8])).unwrap().is_none());
}

fn session_of(account: AccountId, number: u8) -> NewWebSession<'static> {
    let id = WebSessionId::from_bytes([number; 8]);
    NewWebSession { id, secret_hash: [number; 32], account, address: "10.0.0.1", agent: "a browser" }
}

fn session_count(store: &Store, account: AccountId) -> usize {
    store.web_sessions(account).unwrap().len()
}

#[test]
fn sessions_are_found_by_their_secret_and_end() {
    let world = World::new();
    let store = world.open();
    let ada = store.create_account("lovelace", Role::Member, NOW).unwrap();
    let bob = store.create_account("bob", Role::Member, NOW).unwrap();
    store.create_web_session(&session_of(ada, 1), None, NOW).unwrap();
    let again = store.create_web_session(&session_of(ada, 1), None, NOW).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);
    let stray = store.create_web_session(&session_of(AccountId(99), 9), None, NOW).unwrap_err();
    assert_eq!(stray.kind(), ErrorKind::NotFound);
    let found = store.web_session(&[1; 32]).unwrap().unwrap();
    assert_eq!((found.account.name.as_str(), found.created, found.last_seen), ("lovelace", NOW, NOW));
    assert_eq!((found.address.as_str(), found.agent.as_str()), ("10.0.0.1", "a browser"));
    assert!(store.web_session(&[2; 32]).unwrap().is_none());
    // A login takes the place of the session that the browser had.
    store.create_web_session(&session_of(ada, 2), Some(&[1; 32]), NOW).unwrap();
    assert!(store.web_session(&[1; 32]).unwrap().is_none());
    let later = UnixMs(NOW.0 + 60_000);
    store.touch_web_session(WebSessionId::from_bytes([2; 8]), later).unwrap();
    assert_eq!(store.web_session(&[2; 32]).unwrap().unwrap().last_seen, later);
    // Nobody ends another's.
    store.create_web_session(&session_of(bob, 3), None, NOW).unwrap();
    assert_eq!(store.end_web_sessions(ada, Some(WebSessionId::from_bytes([3; 8]))).unwrap(), 0);
    assert_eq!(store.end_web_sessions(bob, Some(WebSessionId::from_bytes([3; 8]))).unwrap(), 1);
    // A new password ends them all.
    store.set_password(ada, "hash").unwrap();
    assert_eq!(session_count(&store, ada), 0);
    // What is too old is swept, by its beginning or by its last use.
    let never = UnixMs(i64::MIN);
    let sweep = Sweep {
        sessions_idle_since: never,
        pins_before: never,
        answers_before: never,
        enrolments_before: never,
        web_sessions_before: (NOW, NOW),
    };
    store.create_web_session(&session_of(ada, 4), None, NOW).unwrap();
    assert_eq!(store.sweep(&sweep).unwrap(), 0);
    let unused = Sweep { web_sessions_before: (never, later), ..sweep };
    assert_eq!(store.sweep(&unused).unwrap(), 1);
    store.create_web_session(&session_of(ada, 5), None, NOW).unwrap();
    assert_eq!(store.sweep(&Sweep { web_sessions_before: (later, never), ..sweep }).unwrap(), 1);
}

#[test]
fn a_request_under_a_key_is_begun_once() {
    let world = World::new();
    let store = world.open();
    let ada = store.create_account("lovelace", Role::Member, NOW).unwrap();
    let bob = store.create_account("bob", Role::Member, NOW).unwrap();
    let begin = |account, number, hash: u8| store.begin_request(account, key(number), &[hash; 32], NOW);
    assert_eq!(begin(ada, 1, 1).unwrap(), Asked::First);
    assert_eq!(begin(ada, 1, 1).unwrap(), Asked::Begun);
    assert!(matches!(begin(ada, 1, 2), Err(StoreError::OtherRequest)));
    assert_eq!(begin(bob, 1, 2).unwrap(), Asked::First, "another's key is another");
    store.answer_request(ada, key(1), b"done").unwrap();
    assert_eq!(begin(ada, 1, 1).unwrap(), Asked::Answered(b"done".to_vec()));
    store.forget_request(bob, key(1)).unwrap();
    assert_eq!(begin(bob, 1, 3).unwrap(), Asked::First);
    // Answers are forgotten in their time.
    let never = UnixMs(i64::MIN);
    let sweep = Sweep {
        sessions_idle_since: never,
        pins_before: never,
        answers_before: UnixMs(NOW.0 + 1),
        enrolments_before: never,
        web_sessions_before: (never, never),
    };
    assert_eq!(store.sweep(&sweep).unwrap(), 2);
    assert_eq!(begin(ada, 1, 9).unwrap(), Asked::First);
}

#[test]
fn a_shut_account_loses_its_sessions_and_one_administrator_stays() {
    let world = World::new();
    let store = world.open();
    let chief = store.create_account("chief", Role::Admin, NOW).unwrap();
    let other = store.create_account("other", Role::Member, NOW).unwrap();
    store.create_web_session(&session_of(other, 1), None, NOW).unwrap();
    store.set_disabled(other, Some(NOW)).unwrap();
    store.set_disabled(other, Some(UnixMs(NOW.0 + 1))).unwrap();
    assert_eq!(session_count(&store, other), 0);
    assert_eq!(store.account(other).unwrap().unwrap().disabled, Some(NOW));
    let admins: Vec<_> = store.accounts().unwrap().into_iter().filter(|account| account.role == Role::Admin).collect();
    for admin in admins.iter().filter(|admin| admin.id != chief) {
        store.set_role(admin.id, Role::Member).unwrap();
    }
    for refused in [store.set_role(chief, Role::ReadOnly), store.set_disabled(chief, Some(NOW))] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
    }
    let found = store.account(chief).unwrap().unwrap();
    assert_eq!((found.role, found.disabled), (Role::Admin, None));
    // One who is shut out does not count.
    store.set_role(other, Role::Admin).unwrap();
    assert_eq!(store.set_role(chief, Role::Member).unwrap_err().kind(), ErrorKind::Conflict);
    store.set_disabled(other, None).unwrap();
    store.set_role(chief, Role::Member).unwrap();
    assert_eq!(store.set_role(AccountId(99), Role::Member).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_setup_link_works_once_in_time_and_for_one_of_many() {
    let world = World::new();
    let store = world.open();
    let account = store.create_account("first", Role::Admin, NOW).unwrap();
    store.create_account("taken", Role::Member, NOW).unwrap();
    let expires = UnixMs(NOW.0 + 10);
    store.create_setup_link(account, &[1; 32], expires, NOW).unwrap();
    store.create_setup_link(account, &[2; 32], expires, NOW).unwrap();
    assert_eq!(store.setup_link(&[2; 32], NOW).unwrap(), Some(account));
    let missing = |secret: u8, now| {
        let refused = store.redeem_setup_link(&[secret; 32], "ada2", "hash", now).unwrap_err();
        assert_eq!(refused.to_string(), "set-up link not found");
    };
    missing(1, NOW);
    missing(2, UnixMs(NOW.0 + 11));
    // A name that is taken costs nothing.
    let taken = store.redeem_setup_link(&[2; 32], "taken", "hash", NOW).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Conflict);
    store.create_web_session(&session_of(account, 1), None, NOW).unwrap();
    let won: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let store = &store;
                scope.spawn(move || {
                    let name = format!("name-{number}");
                    usize::from(store.redeem_setup_link(&[2; 32], &name, &name, NOW).is_ok())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(won, 1);
    let found = store.account(account).unwrap().unwrap();
    let password = store.password(&found.name).unwrap().unwrap();
    assert_eq!(password.hash, Some(found.name), "name and password are of the same one");
    assert_eq!(session_count(&store, account), 0);
    missing(2, NOW);
}

#[test]
fn a_code_is_taken_once() {
    let world = World::new();
    let store = world.open();
    let account = store.create_account("lovelace", Role::Member, NOW).unwrap();
    let has_factor = || store.password("lovelace").unwrap().unwrap().has_second_factor;
    store.begin_second_factor(account, &[1; 16]).unwrap();
    store.begin_second_factor(account, &[2; 16]).unwrap();
    assert!(!has_factor(), "nobody has shown a code");
    assert!(!store.take_step(account, 5).unwrap() && !store.take_recovery_code(account, &[7; 32]).unwrap());
    store.confirm_second_factor(account, 100, &[[7; 32], [8; 32]], NOW).unwrap();
    assert!(has_factor());
    for refused in [store.begin_second_factor(account, &[3; 16]), store.confirm_second_factor(account, 101, &[], NOW)] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
    }
    let factor = store.second_factor(account).unwrap().unwrap();
    assert_eq!((factor.salt, factor.confirmed, factor.recovery_codes), ([2; 16], Some(NOW), 2));
    assert!(!store.take_step(account, 100).unwrap(), "that code confirmed it");
    assert!(store.take_step(account, 102).unwrap());
    assert!(!store.take_step(account, 102).unwrap() && !store.take_step(account, 101).unwrap());
    assert!(store.take_recovery_code(account, &[7; 32]).unwrap());
    assert!(!store.take_recovery_code(account, &[7; 32]).unwrap());
    assert!(store.remove_second_factor(account).unwrap() && !store.remove_second_factor(account).unwrap());
    assert!(!has_factor() && !store.take_recovery_code(account, &[8; 32]).unwrap());
}

#[test]
fn the_audit_log_is_only_added_to() {
    let world = World::new();
    let store = world.open();
    let entry = |event, subject| NewAuditEntry {
        actor: "ada",
        means: "session",
        address: "10.0.0.1",
        event,
        subject,
        detail: "",
    };
    for (event, subject) in [("login", "ada"), ("role-set", "bob"), ("login", "bob")] {
        store.add_audit(&entry(event, subject), NOW).unwrap();
    }
    let all = AuditQuery { limit: 10, ..AuditQuery::default() };
    let subjects = |query: &AuditQuery<'_>| -> Vec<String> {
        store.audit(query).unwrap().into_iter().map(|entry| entry.subject).collect()
    };
    assert_eq!(subjects(&all), ["bob", "bob", "ada"]);
    assert_eq!(subjects(&AuditQuery { event: Some("login"), ..all }), ["bob", "ada"]);
    assert_eq!(subjects(&AuditQuery { name: Some("bob"), ..all }), ["bob", "bob"]);
    let newest = store.audit(&AuditQuery { limit: 1, ..all }).unwrap().remove(0);
    assert_eq!(subjects(&AuditQuery { before: Some(newest.number), ..all }), ["bob", "ada"]);
    drop(store);
    let catalog = rusqlite::Connection::open(world.root.join("catalog.sqlite3")).unwrap();
    for change in ["UPDATE audit SET actor = 'eve'", "DELETE FROM audit", "DELETE FROM audit WHERE actor = 'ada'"] {
        let refused = catalog.execute(change, ()).unwrap_err().to_string();
        assert!(refused.contains("the audit log"), "{refused}");
    }
    catalog
        .execute("INSERT INTO audit SELECT NULL, at_ms + 40000000000, '', '', '', 'x', '', '' FROM audit LIMIT 1", ())
        .unwrap();
    drop(catalog);
    let store = world.open();
    let never = UnixMs(i64::MIN);
    let sweep = Sweep {
        sessions_idle_since: never,
        pins_before: never,
        answers_before: never,
        enrolments_before: never,
        web_sessions_before: (never, never),
    };
    assert_eq!(store.sweep(&sweep).unwrap(), 3, "what is older than 400 days goes");
}
