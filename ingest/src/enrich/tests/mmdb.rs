//! Writes small databases in MaxMind's format, version 2, so that none has to be kept as a file.
//!
//! Layout: a search tree over the bits of IPv6 addresses, sixteen zero bytes, the data section, a marker,
//! and a map that describes the file. <https://maxmind.github.io/MaxMind-DB/>

use std::net::IpAddr;

use serde_json::{Value, json};

/// Types of values, the numbers with their bytes.
const TEXT: u8 = 2;
const DOUBLE: (u8, usize) = (3, 8);
const UINT16: (u8, usize) = (5, 2);
const UINT32: (u8, usize) = (6, 4);
const MAP: u8 = 7;
const UINT64: (u8, usize) = (9, 8);
const ARRAY: u8 = 11;
const BOOLEAN: u8 = 14;
/// Two records of 32 bits each.
const RECORD_BITS: usize = 32;
const METADATA_MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";
/// Separates the tree from the data, and counts in records that point into the data.
const SEPARATOR_BYTES: usize = 16;

/// A database of this type with a record for each network, such as `192.0.2.0/24`. Networks must not
/// overlap.
pub(crate) fn database(kind: &str, networks: &[(&str, Value)]) -> Vec<u8> {
    let mut tree = Tree { nodes: vec![[Record::Empty; 2]] };
    let mut data = Vec::new();
    for (network, value) in networks {
        tree.insert(network, data.len());
        write_value(&mut data, value);
    }
    let mut file = tree.bytes();
    file.extend([0; SEPARATOR_BYTES]);
    file.extend(data);
    file.extend(METADATA_MARKER);
    write_metadata(&mut file, kind, tree.nodes.len());
    file
}

/// Here the format prescribes the widths of numbers.
fn write_metadata(out: &mut Vec<u8>, kind: &str, nodes: usize) {
    let numbers = [
        ("node_count", UINT32, nodes),
        ("record_size", UINT16, RECORD_BITS),
        ("ip_version", UINT16, 6),
        ("binary_format_major_version", UINT16, 2),
        ("binary_format_minor_version", UINT16, 0),
        ("build_epoch", UINT64, 1_795_000_000),
    ];
    let texts =
        [("database_type", json!(kind)), ("languages", json!(["en"])), ("description", json!({"en": "a test"}))];
    write_control(out, MAP, numbers.len() + texts.len());
    for (key, (width, bytes), number) in numbers {
        write_value(out, &json!(key));
        write_control(out, width, bytes);
        out.extend(&(number as u64).to_be_bytes()[8 - bytes..]);
    }
    for (key, value) in texts {
        write_value(out, &json!(key));
        write_value(out, &value);
    }
}

#[derive(Clone, Copy, Debug)]
enum Record {
    Empty,
    Node(usize),
    /// Offset in the data section.
    Data(usize),
}

#[derive(Debug)]
struct Tree {
    nodes: Vec<[Record; 2]>,
}

impl Tree {
    fn insert(&mut self, network: &str, offset: usize) {
        let (address, length) = network.split_once('/').expect("a network has a length");
        let length: usize = length.parse().expect("a number of bits");
        // IPv4 lives in ::/96.
        let (bits, length) = match address.parse().expect("an address") {
            IpAddr::V4(ip) => (u128::from(u32::from(ip)), length + 96),
            IpAddr::V6(ip) => (u128::from(ip), length),
        };
        let side = |depth: usize| usize::from(bits >> (127 - depth) & 1 == 1);
        let mut node = 0;
        for depth in 0..length - 1 {
            node = match self.nodes[node][side(depth)] {
                Record::Node(next) => next,
                Record::Data(_) => panic!("{network} lies in another network"),
                Record::Empty => {
                    let next = self.nodes.len();
                    self.nodes.push([Record::Empty; 2]);
                    self.nodes[node][side(depth)] = Record::Node(next);
                    next
                }
            };
        }
        let last = &mut self.nodes[node][side(length - 1)];
        assert!(matches!(last, Record::Empty), "{network} overlaps another network");
        *last = Record::Data(offset);
    }

    /// A record is the number of a node; the number of all nodes means nothing, and what is larger
    /// points into the data.
    fn bytes(&self) -> Vec<u8> {
        let count = self.nodes.len();
        let number = |record: &Record| match record {
            Record::Empty => count,
            Record::Node(node) => *node,
            Record::Data(offset) => count + SEPARATOR_BYTES + offset,
        };
        let records = self.nodes.iter().flatten();
        records.flat_map(|record| u32::try_from(number(record)).expect("a small file").to_be_bytes()).collect()
    }
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(text) => {
            write_control(out, TEXT, text.len());
            out.extend(text.bytes());
        }
        Value::Number(number) => match number.as_u64() {
            Some(integer) => {
                let integer = u32::try_from(integer).expect("32 bits");
                write_control(out, UINT32.0, UINT32.1);
                out.extend(integer.to_be_bytes());
            }
            None => {
                write_control(out, DOUBLE.0, DOUBLE.1);
                out.extend(number.as_f64().expect("a number").to_be_bytes());
            }
        },
        Value::Object(map) => {
            write_control(out, MAP, map.len());
            for (key, value) in map {
                write_value(out, &Value::String(key.clone()));
                write_value(out, value);
            }
        }
        Value::Array(list) => {
            write_control(out, ARRAY, list.len());
            list.iter().for_each(|value| write_value(out, value));
        }
        Value::Bool(is) => write_control(out, BOOLEAN, usize::from(*is)),
        Value::Null => panic!("the format has no null"),
    }
}

/// Type and size in front of a value: types above 7 have a byte of their own, sizes above 28 too.
fn write_control(out: &mut Vec<u8>, kind: u8, size: usize) {
    let (short, more) = match size {
        0..29 => (size, None),
        29..285 => (29, Some(size - 29)),
        _ => panic!("a value of {size} bytes"),
    };
    let short = u8::try_from(short).expect("below 32");
    if kind > 7 {
        out.extend([short, kind - 7]);
    } else {
        out.push(kind << 5 | short);
    }
    out.extend(more.map(|more| u8::try_from(more).expect("below 256")));
}
