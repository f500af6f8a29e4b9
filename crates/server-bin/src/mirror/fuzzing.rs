//! Reading and writing the record of a mirror for fuzz targets.

use std::path::Path;

use super::record::{RecordReader, RecordWriter, Recorded, walk_order};

/// Reads these bytes as a record, by way of files in `folder`: what is understood is in the order of a walk, and the same after
/// it is written again. How many paths.
pub fn record(folder: &Path, bytes: &[u8]) -> usize {
    let (given, written) = (folder.join("given"), folder.join("written"));
    std::fs::write(&given, bytes).expect("there is room");
    let read = read(&given);
    assert!(read.is_sorted_by(|before, after| walk_order(&before.path, &after.path).is_lt()));
    let mut writer = RecordWriter::create(folder.join("new"), written.clone()).expect("there is room");
    for Recorded { path, marks } in &read {
        marks.iter().for_each(|mark| writer.put(path, mark).expect("it was short enough to be read"));
    }
    writer.finish(false).expect("there is room");
    assert_eq!(self::read(&written), read);
    read.len()
}

fn read(path: &Path) -> Vec<Recorded> {
    let mut reader = RecordReader::open(&path.to_owned()).expect("it is there");
    std::iter::from_fn(|| reader.next().expect("it is read")).collect()
}
