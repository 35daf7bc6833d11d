use std::fs;

use crate::support::{pages, root};

/// A block of code on a page.
pub(crate) struct Block {
    pub(crate) page: String,
    pub(crate) line: usize,
    pub(crate) kind: String,
    pub(crate) code: String,
    /// The block above it.
    pub(crate) before: String,
}

pub(crate) fn blocks() -> Vec<Block> {
    let named = |page: std::path::PathBuf| {
        let name = page.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        blocks_of(&name, &fs::read_to_string(page).unwrap())
    };
    pages().into_iter().flat_map(named).collect()
}

fn blocks_of(page: &str, text: &str) -> Vec<Block> {
    let (mut blocks, mut open): (Vec<Block>, Option<Block>) = (Vec::new(), None);
    for (line, number) in text.lines().zip(1..) {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, open.take()) {
            (Some(""), Some(block)) => blocks.push(block),
            (Some(kind), None) => {
                let before = blocks.last().map(|block| block.code.clone()).unwrap_or_default();
                let (page, kind) = (page.to_owned(), kind.to_owned());
                open = Some(Block { page, line: number, kind, code: String::new(), before });
            }
            (None, Some(mut block)) => {
                block.code += &format!("{line}\n");
                open = Some(block);
            }
            (None, None) => {}
            (Some(_), Some(_)) => panic!("{page}:{number}: a block within a block"),
        }
    }
    assert!(open.is_none(), "{page}: a block does not end");
    blocks
}
