//! The top-level modules have one order, and imports go down.
//!
//! The test reads the sources from `src/lib.rs` on, as the compiler does, and leaves out what is compiled for tests only.
//! It finds imports (`use crate::…`), paths in the code (`crate::x::Y`, `super::super::Y`) and paths in attributes
//! (`with = "crate::x"`). Links in comments do not count.
//!
//! `cargo test --test module_order -- --nocapture` prints who imports whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first: a module imports only modules that come before it. `CONTRIBUTING.md` shows the same order.
const ORDER: [&str; 19] = [
    // The ground floor, for everybody.
    "rt",
    "error",
    // Neither knows the other, and `layers` knows nothing of PostHog.
    "credentials",
    "layers",
    // What we send to PostHog, and what its answers mean.
    "api",
    // Receives webhooks, with nothing of the client.
    "webhook",
    // A PostHog for tests: it repeats what the real one says, so it needs nearly nothing of ours.
    "testing",
    // An event's path, and what is observed of it.
    "delivery",
    "monitor",
    "health",
    // Other ways in and out.
    "sdk",
    "flags",
    // The whole.
    "config",
    "client",
    // A world around the client, for tests.
    "simulation",
    // What sits on the client.
    "routes",
    "preflight",
    "cli",
    // A binary sees only the public API, so it enters its command by one hidden function.
    "bin",
];

#[test]
fn imports_go_down() {
    let tree = Tree::read();
    let wrong = tree.imports.iter().filter_map(|import| import.fault(&ORDER)).collect::<BTreeSet<_>>();
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn each_module_has_its_place() {
    assert_eq!(Tree::read().modules, ORDER.map(str::to_owned).into());
}

#[test]
fn contributing_shows_the_order() {
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let line =
        page.lines().find(|line| line.starts_with("Order:")).expect("a line that begins with `Order:`");
    assert_eq!(line.split('`').skip(1).step_by(2).collect::<Vec<_>>(), ORDER);
}

#[test]
fn who_imports_whom() {
    let mut table = BTreeMap::<_, BTreeMap<_, usize>>::new();
    for import in Tree::read().imports {
        if let Target::Module(to) = import.target
            && to != import.from
        {
            *table.entry(import.from).or_default().entry(to).or_default() += 1;
        }
    }
    for (from, all) in &table {
        let all: Vec<_> = all.iter().map(|(to, count)| format!("{to} ({count})")).collect();
        println!("{from} ► {}", all.join(", "));
    }
    // The sources were read.
    assert!(table["client"].contains_key("delivery"));
    assert!(table["delivery"].contains_key("error"), "by the name that lib.rs exports");
}

#[test]
fn an_upward_import_names_both_ends() {
    let modules = ["error", "layers", "health", "new"].map(str::to_owned).into();
    let exports = exports(
        "mod error; pub use error::{Error, ErrorKind as Kind}; pub use health::*; pub use posthog_rs::Event;",
    );
    let faults = |from: &str, source: &str| {
        let module = from.split("::").map(str::to_owned).collect::<Vec<_>>();
        let file = parse(source, &module);
        let imports =
            file.paths.into_iter().map(|path| Import::new("src/x.rs", &module[0], path, &modules, &exports));
        imports.filter_map(|import| import.fault(&["error", "layers", "health"])).collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    assert_eq!(faults("health", "use crate::layers::Retry;\nuse crate::{Error, Event};"), none);
    assert_eq!(faults("layers", "use crate::layers::Retry; use super::Error;"), none);
    assert_eq!(
        faults("error::kind", "\n\nuse crate::health::{self, Status};"),
        [
            "src/x.rs:3: `error` imports `health` (crate::health), which is above it",
            "src/x.rs:3: `error` imports `health` (crate::health::Status), which is above it"
        ]
    );
    assert_eq!(
        faults("error::kind", "fn f() { super::super::health::judge() }"),
        ["src/x.rs:1: `error` imports `health` (crate::health::judge), which is above it"]
    );
    assert_eq!(
        faults("health", "use crate::new::X;"),
        ["src/x.rs:1: `health` imports `new` (crate::new::X), which is not in the order"]
    );
    assert_eq!(faults("new", "use crate::Kind;"), ["src/x.rs:1: `new` is not in the order"]);
    assert_eq!(
        faults("health", "use crate::Unknown;"),
        ["src/x.rs:1: `health` imports crate::Unknown, which no module owns"]
    );
    assert_eq!(
        faults("health", "use super::*;"),
        ["src/x.rs:1: `health` imports crate::*, which no module owns"]
    );
}

#[test]
fn each_form_of_a_path_is_read() {
    let module = ["delivery", "queue"].map(str::to_owned);
    for (source, expected) in [
        ("use crate::error::Error;", &["error::Error"][..]),
        ("pub use crate::error::Error as E;", &["error::Error"]),
        (
            "pub(crate) use crate::{Error, layers::{self, Retry as R, retry::*}};",
            &["Error", "layers", "layers::Retry", "layers::retry::*"],
        ),
        ("use crate::{\n    Error, // why\n    ErrorKind,\n};", &["Error", "ErrorKind"]),
        ("fn f() { use crate::rt::Deadline; }", &["rt::Deadline"]),
        ("use std::fmt; use ::tower::Service; use tokio::{self, sync};", &[]),
        ("use super::super::error;", &["error"]),
        ("use super::{super::Error, worker};", &["Error", "delivery::worker"]),
        ("use self::state::State; use state::Other;", &["delivery::queue::state::State"]),
        ("fn f() -> crate::Error { crate::error::Error::new::<u8>() }", &["Error", "error::Error::new"]),
        ("fn f(x: Vec<super::super::Error>) {}", &["Error"]),
        ("pub(in crate::client) struct X; pub(super) fn f() {} pub(crate) mod y;", &[]),
        ("fn f() -> impl Fn() + use<'_> { || crate::rt::f() }", &["rt::f"]),
        ("#[serde(with = \"crate::millis\")] x: u8,", &["millis"]),
        ("/// [`crate::client`]\n//! crate::client::X\n/* crate::a /* crate::b */ */ fn f() {}", &[]),
        (
            "fn f() { g(\"use crate::client;\", r#\"crate::\"client\"#, b\"crate::x y\", '\"', 'a', b'\\'') } use crate::rt;",
            &["rt"],
        ),
        ("macro_rules! m { () => { $crate::rt::f() }; }", &["rt::f"]),
        (
            "mod inner { use super::super::worker; mod deeper { use super::super::super::X; } } use super::Y;",
            &["delivery::worker", "delivery::X", "delivery::Y"],
        ),
        (
            "#[cfg(test)]\nmod tests { use crate::client::X; fn f() { crate::client::y() } }\nuse crate::rt;",
            &["rt"],
        ),
        (
            "#[cfg(all(test, feature = \"spool\"))] #[allow(x)] use crate::client::{A, B}; use crate::rt;",
            &["rt"],
        ),
        ("#[cfg(any(test, feature = \"testing\"))] use crate::rt;", &["rt"]),
        ("#[cfg(not(test))] use crate::rt;", &["rt"]),
        ("struct X { #[cfg(test)] a: crate::client::A, b: crate::rt::B }", &["rt::B"]),
        (
            "struct X { #[cfg(test)] pub(crate) a: HashMap<u8, crate::client::A>, b: crate::rt::B }",
            &["rt::B"],
        ),
        ("struct X { #[cfg(test)] a: fn(u8) -> crate::client::A, b: crate::rt::B }", &["rt::B"]),
        ("enum X { #[cfg(test)] A(crate::client::A), #[cfg(test)] B, C(crate::rt::C) }", &["rt::C"]),
        (
            "impl X { #[cfg(test)] fn f<A, B>(x: [u8; 2]) -> crate::client::A {} fn g() { crate::rt::f() } }",
            &["rt::f"],
        ),
    ] {
        let found: Vec<_> =
            parse(source, &module).paths.into_iter().map(|path| path.segments.join("::")).collect();
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn modules_are_followed_unless_they_are_tests() {
    let source = "mod a;\npub mod b;\n#[cfg(test)]\nmod c;\nmod d { mod e; }\n#[cfg(not(feature = \"f\"))] mod g;\n\
                  #[cfg_attr(not(feature = \"f\"), path = \"no_f.rs\")]\nmod f;\n#[cfg(doctest)] mod pages;";
    let found: Vec<_> =
        parse(source, &[]).modules.into_iter().map(|child| (child.module.join("::"), child.files)).collect();
    let expected = [("a", &[][..]), ("b", &[]), ("d::e", &[]), ("g", &[]), ("f", &["no_f.rs"])];
    assert_eq!(
        found,
        expected
            .map(|(name, files)| (name.to_owned(), files.iter().map(|file| (*file).to_owned()).collect()))
    );
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All sources of the library and its commands.
struct Tree {
    modules: BTreeSet<String>,
    imports: Vec<Import>,
}

impl Tree {
    fn read() -> Self {
        let (source, mut files) = (root().join("src"), Vec::new());
        follow(&source.join("lib.rs"), &[], true, &mut files);
        let commands =
            fs::read_dir(source.join("bin")).into_iter().flatten().map(|entry| entry.unwrap().path());
        for command in commands.filter(|path| path.extension().is_some_and(|ending| ending == "rs")) {
            follow(&command, &["bin".to_owned()], true, &mut files);
        }
        let modules: BTreeSet<_> =
            files.iter().filter_map(|(_, module, _)| module.first().cloned()).collect();
        let exports = exports(&fs::read_to_string(source.join("lib.rs")).unwrap());
        let imports = files.into_iter().flat_map(|(path, module, file)| {
            let (modules, exports) = (&modules, &exports);
            let path = path.strip_prefix(root()).unwrap().display().to_string();
            // `lib.rs` itself is above all.
            let from = module.first().cloned();
            let of_a_module = file.paths.into_iter().filter_map(move |found| Some((from.clone()?, found)));
            of_a_module.map(move |(from, found)| Import::new(&path, &from, found, modules, exports))
        });
        let imports = imports.collect();
        Self { modules, imports }
    }
}

/// Reads a file and the modules that it declares. They are beside it if it `owns_folder`, as a crate's root, a `mod.rs` and
/// a file that a `path` names do.
fn follow(path: &Path, module: &[String], owns_folder: bool, files: &mut Vec<(PathBuf, Vec<String>, File)>) {
    let file = parse(&fs::read_to_string(path).unwrap(), module);
    let (folder, name) = (path.parent().unwrap(), path.file_stem().unwrap());
    let own = if owns_folder { folder.to_owned() } else { folder.join(name) };
    for child in &file.modules {
        let below: PathBuf = child.module[module.len()..].iter().collect();
        let candidates =
            [(own.join(below.with_extension("rs")), false), (own.join(below).join("mod.rs"), true)];
        // A stand-in is compiled in place of the module, by features.
        let stand_ins = child.files.iter().map(|file| (folder.join(file), true));
        let found: Vec<_> =
            candidates.into_iter().chain(stand_ins).filter(|(path, _)| path.exists()).collect();
        assert!(!found.is_empty(), "{}: no file of the module {}", path.display(), child.module.join("::"));
        found.iter().for_each(|(path, owns)| follow(path, &child.module, *owns, files));
    }
    files.push((path.to_owned(), module.to_owned(), file));
}

/// Where the names at the root come from: `Error` from `error::Error`.
fn exports(root: &str) -> BTreeMap<String, Vec<String>> {
    // What comes by `*` has no owner that could be read here.
    parse(root, &[]).uses.into_iter().filter(|(name, _)| name != "*").collect()
}

#[derive(Debug)]
struct Import {
    place: String,
    from: String,
    path: String,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Module(String),
    /// Exported at the root, and of another crate.
    Foreign,
    Unknown,
}

impl Import {
    fn new(
        file: &str,
        from: &str,
        path: Found,
        modules: &BTreeSet<String>,
        exports: &BTreeMap<String, Vec<String>>,
    ) -> Self {
        let first = path.segments.first();
        let target = match first {
            Some(first) if modules.contains(first) => Target::Module(first.clone()),
            Some(first) => match exports.get(first).map(|path| &path[0]) {
                Some(owner) if modules.contains(owner) => Target::Module(owner.clone()),
                Some(_) => Target::Foreign,
                None => Target::Unknown,
            },
            None => Target::Unknown,
        };
        let place = format!("{file}:{}", path.line);
        Self { place, from: from.to_owned(), path: path.to_string(), target }
    }

    /// What is wrong with it.
    fn fault(&self, order: &[&str]) -> Option<String> {
        let Self { place, from, path, target } = self;
        let position = |module: &str| order.iter().position(|name| *name == module);
        let Some(own) = position(from) else { return Some(format!("{place}: `{from}` is not in the order")) };
        match target {
            Target::Module(to) => match position(to) {
                Some(other) if other <= own => None,
                Some(_) => Some(format!("{place}: `{from}` imports `{to}` ({path}), which is above it")),
                None => Some(format!("{place}: `{from}` imports `{to}` ({path}), which is not in the order")),
            },
            Target::Foreign => None,
            Target::Unknown => Some(format!("{place}: `{from}` imports {path}, which no module owns")),
        }
    }
}

/// What a file says of modules.
#[derive(Default)]
struct File {
    /// Paths into this crate, from the root.
    paths: Vec<Found>,
    /// Modules in files of their own.
    modules: Vec<Child>,
    /// Names that `use` brings into the file's own module, with their paths as written.
    uses: Vec<(String, Vec<String>)>,
}

struct Found {
    segments: Vec<String>,
    line: usize,
}

impl Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "crate")?;
        self.segments.iter().try_for_each(|segment| write!(f, "::{segment}"))
    }
}

struct Child {
    module: Vec<String>,
    /// Of its `path` attributes.
    files: Vec<String>,
}

fn parse(source: &str, module: &[String]) -> File {
    let tokens = tokens(source);
    let text = |at: usize| tokens.get(at).map_or("", Token::text);
    let mut file = File::default();
    // The module at this place, and at which depth of braces the inline modules around it end.
    let (mut here, mut ends) = (module.to_owned(), Vec::new());
    let (mut depth, mut files, mut at) = (0, Vec::new(), 0);
    while let Some(token) = tokens.get(at) {
        match token.text() {
            "#" if text(at + 1) == "[" => {
                let end = closing(&tokens, at + 1);
                let attribute = &tokens[at..end];
                if is_for_tests(attribute) {
                    at = end_of_item(&tokens, end);
                    continue;
                }
                files.extend(attribute.windows(3).filter_map(|three| match three {
                    [name, equals, Token { literal: Some(file), .. }]
                        if (name.text(), equals.text()) == ("path", "=") =>
                    {
                        Some(file.clone())
                    }
                    _ => None,
                }));
            }
            "pub" if text(at + 1) == "(" => {
                at = closing(&tokens, at + 1);
                continue;
            }
            "mod" if text(at + 2) == ";" => {
                let module =
                    here.iter().map(String::as_str).chain([text(at + 1)]).map(str::to_owned).collect();
                file.modules.push(Child { module, files: std::mem::take(&mut files) });
            }
            "mod" if text(at + 2) == "{" => {
                here.push(text(at + 1).to_owned());
                ends.push(depth);
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if ends.last() == Some(&depth) {
                    ends.pop();
                    here.pop();
                }
            }
            // Not `impl Trait + use<'_>`.
            "use" if text(at + 1) != "<" => {
                let mut leaves = Vec::new();
                at = tree(&tokens, at + 1, Vec::new(), &mut leaves);
                for (name, segments, line) in leaves {
                    file.paths.extend(from_root(&here, &segments).map(|segments| Found { segments, line }));
                    if here == module {
                        file.uses.push((name, segments));
                    }
                }
                continue;
            }
            "crate" | "super" | "self" if text(at + 1) == "::" => {
                let mut segments = vec![token.text().to_owned()];
                while text(at + 1) == "::" && tokens.get(at + 2).is_some_and(Token::is_word) {
                    segments.push(text(at + 2).to_owned());
                    at += 2;
                }
                let line = token.line;
                file.paths.extend(from_root(&here, &segments).map(|segments| Found { segments, line }));
            }
            _ => {}
        }
        // An attribute that names a function or a module.
        if let Some(path) = &token.literal
            && path.split("::").all(|segment| !segment.is_empty() && segment.chars().all(is_of_word))
        {
            let segments: Vec<_> = path.split("::").map(str::to_owned).collect();
            let found = from_root(&here, &segments).filter(|_| segments.len() > 1);
            file.paths.extend(found.map(|segments| Found { segments, line: token.line }));
        }
        at += 1;
    }
    file
}

/// None for a path into another crate, and for one that begins with a name in scope.
fn from_root(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let mut segments = path.iter().map(String::as_str).peekable();
    let mut absolute = match segments.next()? {
        "crate" => Vec::new(),
        "self" => module.to_owned(),
        "super" => module.split_last()?.1.to_owned(),
        // A command names the library by its name.
        "posthog_health" if module.first().is_some_and(|module| module == "bin") => Vec::new(),
        _ => return None,
    };
    while segments.next_if_eq(&"super").is_some() {
        absolute.pop();
    }
    absolute.extend(segments.filter(|segment| *segment != "self").map(str::to_owned));
    Some(absolute)
}

/// Reads what `use` imports, as names with their paths, and returns where it ends.
fn tree(
    tokens: &[Token],
    mut at: usize,
    mut path: Vec<String>,
    leaves: &mut Vec<(String, Vec<String>, usize)>,
) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.text() {
            "::" | "$" => at += 1,
            "{" => {
                at += 1;
                while !["}", ""].contains(&tokens.get(at).map_or("", Token::text)) {
                    at = tree(tokens, at, path.clone(), leaves);
                    at += usize::from(tokens.get(at).is_some_and(|token| token.text() == ","));
                }
                return at + 1;
            }
            segment => {
                path.push(segment.to_owned());
                at += 1;
                if tokens.get(at).is_some_and(|token| token.text() == "::") {
                    continue;
                }
                let mut name = segment;
                if tokens.get(at).is_some_and(|token| token.text() == "as") {
                    name = tokens[at + 1].text();
                    at += 2;
                }
                leaves.push((name.to_owned(), path, token.line));
                return at;
            }
        }
    }
    at
}

/// `#[cfg(test)]` and its like, but not what is compiled otherwise, too.
fn is_for_tests(attribute: &[Token]) -> bool {
    let words: Vec<_> = attribute.iter().filter(|token| token.is_word()).map(Token::text).collect();
    words.first() == Some(&"cfg")
        && (words.contains(&"test") || words.contains(&"doctest"))
        && !words.contains(&"not")
        && !words.contains(&"any")
}

/// Behind the bracket that closes the one here.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Behind the item, field or variant that begins here.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", Token::text);
    while text(at) == "#" {
        at = closing(tokens, at + 1);
    }
    if text(at) == "pub" {
        at = if text(at + 1) == "(" { closing(tokens, at + 1) } else { at + 1 };
    }
    let is_field = [":", ",", "("].contains(&text(at + 1));
    // Commas between `<` and `>` end no field.
    let mut angles = 0;
    while let Some(token) = tokens.get(at) {
        match token.text() {
            "{" if !is_field => return closing(tokens, at),
            "(" | "[" | "{" => {
                at = closing(tokens, at);
                continue;
            }
            "<" => angles += 1,
            ">" if text(at - 1) != "-" => angles -= 1,
            ";" => return at + 1,
            "," if is_field && angles == 0 => return at + 1,
            ")" | "]" | "}" => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

#[derive(Debug)]
struct Token {
    /// Empty for a string.
    word: String,
    /// What is in a string.
    literal: Option<String>,
    line: usize,
}

impl Token {
    fn text(&self) -> &str {
        &self.word
    }

    fn is_word(&self) -> bool {
        self.word.starts_with(is_of_word)
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Words, strings, `::` and single signs, without comments and characters.
fn tokens(source: &str) -> Vec<Token> {
    let (mut tokens, mut rest, mut line) = (Vec::new(), source, 1);
    while let Some(c) = rest.chars().next() {
        let mut token = |word: &str, literal| tokens.push(Token { word: word.to_owned(), literal, line });
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some((content, length)) = string(rest) {
            token("", Some(content.to_owned()));
            length
        } else if c == '\'' {
            character(rest)
        } else if is_of_word(c) {
            let word = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
            token(&rest[..word], None);
            word
        } else if rest.starts_with("::") {
            token("::", None);
            2
        } else {
            if !c.is_whitespace() {
                token(&rest[..c.len_utf8()], None);
            }
            c.len_utf8()
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// They nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let next = |sign| rest[at..].find(sign).map_or(rest.len(), |found| at + found);
        let (open, close) = (next("/*"), next("*/"));
        depth += if open < close { 1 } else { -1 };
        at = (open.min(close) + 2).min(rest.len());
        if depth <= 0 || at == rest.len() {
            return at;
        }
    }
}

/// The content of a string that begins here, raw or not, and its length with the quotes.
fn string(rest: &str) -> Option<(&str, usize)> {
    let prefix = rest.bytes().take_while(|byte| b"bcr".contains(byte)).count();
    if !["", "b", "c", "r", "br", "cr"].contains(&&rest[..prefix]) {
        return None;
    }
    let after = rest[prefix..].trim_start_matches('#');
    let hashes = rest.len() - prefix - after.len();
    let content = after.strip_prefix('"')?;
    let is_raw = rest[..prefix].ends_with('r');
    if hashes > 0 && !is_raw {
        return None;
    }
    let end = if is_raw {
        content.find(&format!("\"{}", "#".repeat(hashes)))?
    } else {
        let mut is_escaped = false;
        content.find(|c| {
            let ends = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        })?
    };
    Some((&content[..end], prefix + hashes + 1 + end + 1 + hashes))
}

/// The length of a character (`'a'`, `'\''`), or of the sign that begins a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, c))) => {
            let from = escaped + c.len_utf8();
            rest[from..].find('\'').map_or(rest.len(), |end| from + end + 1)
        }
        (Some(_), Some((end, '\''))) => end + 1,
        _ => 1,
    }
}
