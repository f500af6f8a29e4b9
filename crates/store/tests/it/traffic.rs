//! Figures for charts: they add up, by hour, day and in all, and their number is bounded.

use store::{AccountId, Store, Traffic, TrafficRow, TrafficSpan, UnixMs};

use crate::props::*;

const HOUR_MS: i64 = 3_600_000;

fn sent(bytes: u64) -> Traffic {
    Traffic { sent_bytes: bytes, source_bytes: 2 * bytes, ..Traffic::default() }
}

fn look(store: &Store, account: Option<AccountId>, span: TrafficSpan) -> Vec<(i64, u64)> {
    let rows: Vec<TrafficRow> = store.traffic(account, span, 10_000).unwrap();
    rows.iter().map(|row| (row.start.0, row.traffic.sent_bytes)).collect()
}

#[test]
fn traffic_adds_up_by_hour_and_day_and_in_all() {
    let world = World::new();
    let store = world.open();
    let other = store.create_account("other", store::Role::Member, NOW).unwrap();
    let day = TrafficSpan::Day.start(NOW);
    let at = |hours: i64| UnixMs(day.0 + hours * HOUR_MS + 5);
    store.add_traffic(&[(world.account, sent(10)), (other, sent(1000))], at(1)).unwrap();
    store.add_traffic(&[(world.account, sent(5))], at(1)).unwrap();
    store.add_traffic(&[(world.account, sent(7))], at(30)).unwrap();
    let own = |span| look(&store, Some(world.account), span);
    assert_eq!(own(TrafficSpan::Hour), [(day.0 + HOUR_MS, 15), (day.0 + 30 * HOUR_MS, 7)]);
    assert_eq!(own(TrafficSpan::Day), [(day.0, 15), (day.0 + 24 * HOUR_MS, 7)]);
    assert_eq!(own(TrafficSpan::Ever), [(0, 22)]);
    assert_eq!(look(&store, None, TrafficSpan::Ever), [(0, 1022)]);
    assert_eq!(look(&store, None, TrafficSpan::Hour)[0], (day.0 + HOUR_MS, 1015));
    assert_eq!(store.traffic(None, TrafficSpan::Hour, 1).unwrap()[0].traffic.source_bytes, 14, "the last one");
    drop(store);
    assert_eq!(look(&world.open(), None, TrafficSpan::Ever), [(0, 1022)]);
}

#[test]
fn hours_are_bounded_by_their_number_and_a_clock_that_jumps_takes_none_away() {
    let world = World::new();
    let store = world.open();
    let add = |hour: i64| store.add_traffic(&[(world.account, sent(1))], UnixMs(hour * HOUR_MS)).unwrap();
    (0..750).for_each(add);
    // Ten years ahead, and back.
    add(90_000);
    add(750);
    let hours = look(&store, None, TrafficSpan::Hour);
    assert_eq!(hours.len(), 744);
    assert_eq!(hours[0].0, 8 * HOUR_MS);
    assert_eq!(look(&store, None, TrafficSpan::Ever), [(0, 752)]);
}
