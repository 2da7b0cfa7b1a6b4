//! Reads `golden.txt`. Its head says how it is written.

/// The file.
pub const TEXT: &str = include_str!("../../golden.txt");

/// What a block claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    Vector,
    Accept,
    Refuse,
    Message,
}

/// One block of the file.
#[derive(Clone, Debug)]
pub struct Block {
    pub claim: Claim,
    pub name: String,
    /// The names after `frame` or `frames`.
    pub frames: Vec<String>,
    /// The number after `frame`.
    pub number: Option<u8>,
    /// The JSON after `fields`.
    pub fields: String,
    pub bytes: Vec<u8>,
}

/// Every block, in order. Panics at a line it doesn't understand.
pub fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in TEXT.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
        let claim = match keyword {
            "vector" => Some(Claim::Vector),
            "accept" => Some(Claim::Accept),
            "refuse" => Some(Claim::Refuse),
            "message" => Some(Claim::Message),
            _ => None,
        };
        if let Some(claim) = claim {
            blocks.push(Block {
                claim,
                name: value.to_owned(),
                frames: Vec::new(),
                number: None,
                fields: String::new(),
                bytes: Vec::new(),
            });
            continue;
        }
        let block = blocks.last_mut().expect("the file starts with a block");
        match keyword {
            "frame" => {
                let (name, number) = value.split_once(" 0x").expect("NAME 0xNN");
                block.frames = vec![name.to_owned()];
                block.number = Some(u8::from_str_radix(number, 16).expect("a number"));
            }
            "frames" => block.frames = value.split_whitespace().map(str::to_owned).collect(),
            "fields" => block.fields = value.to_owned(),
            "hex" => {
                let digits = value.split('#').next().unwrap_or_default();
                block.bytes.extend(parse_hex(digits));
            }
            _ => panic!("golden.txt: unknown keyword in {line:?}"),
        }
    }
    blocks
}

/// Bytes of hex digits in pairs, white space between them.
pub fn parse_hex(digits: &str) -> Vec<u8> {
    digits
        .split_whitespace()
        .map(|pair| {
            assert_eq!(pair.len(), 2, "{pair:?} is no byte");
            u8::from_str_radix(pair, 16).unwrap_or_else(|_| panic!("{pair:?} is no byte"))
        })
        .collect()
}
