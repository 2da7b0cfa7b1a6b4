//! Browsers driven as a user would: Chromium in headless mode behind chromedriver, spoken to in
//! the WebDriver protocol (JSON over HTTP, <https://www.w3.org/TR/webdriver2/>).
//!
//! Waiting is the browser's: a condition is looked at whenever the page changes.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Longer than anything takes that a test waits for, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);
/// What WebDriver calls a reference to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys that have no character, as WebDriver writes them.
pub mod keys {
    pub const ENTER: char = '\u{e007}';
    pub const SHIFT: char = '\u{e008}';
    pub const TAB: char = '\u{e004}';
}

/// A running chromedriver; it ends with its browsers.
pub struct Driver {
    child: Child,
    address: SocketAddr,
    chromium: PathBuf,
}

impl Driver {
    /// Starts chromedriver.
    ///
    /// # Errors
    /// What is missing, for the line that says why a test is skipped.
    pub fn start() -> Result<Self, String> {
        let chromium = find(&["chromium", "chromium-browser", "google-chrome"])?;
        let driver = find(&["chromedriver"])?;
        let mut command = Command::new(driver);
        command.arg("--port=0");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines
            .find_map(|line| {
                let line = line.unwrap();
                let (_, port) = line.split_once("successfully on port ")?;
                port.trim_end_matches('.').parse().ok()
            })
            .unwrap_or_else(|| panic!("chromedriver did not say its port"));
        // What it says later must have somewhere to go.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)), chromium })
    }

    /// One command; the `value` of the answer, or WebDriver's name of the error with its message.
    fn command(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, (String, String)> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(2 * PATIENCE)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let (status, body) = answer(&mut BufReader::new(stream));
        let mut answer: Value = serde_json::from_slice(&body).unwrap();
        let value = answer["value"].take();
        if status == 200 {
            return Ok(value);
        }
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        Err((text("error"), text("message")))
    }

    /// A browser with a profile of its own.
    pub fn browser(&self) -> Browser<'_> {
        let profile = tempfile::tempdir().unwrap();
        let profile_arg = format!("--user-data-dir={}", profile.path().display());
        // No sandbox: it refuses to run for root, and a container may not grant what it needs.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,800",
            &profile_arg,
        ];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "timeouts": { "script": PATIENCE.as_millis(), "pageLoad": PATIENCE.as_millis() },
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "binary": self.chromium, "args": arguments },
        }}});
        let session = self.command("POST", "/session", Some(&capabilities)).unwrap();
        let session = session["sessionId"].as_str().unwrap().to_owned();
        Browser { driver: self, session, _profile: profile }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _reaped_before = self.child.wait();
    }
}

/// Reads an HTTP answer whose length is said.
fn answer(stream: &mut impl BufRead) -> (u16, Vec<u8>) {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("{line:?}")).parse().unwrap();
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line).unwrap();
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().unwrap();
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (status, body)
}

/// The first of these programs that the search path has.
fn find(names: &[&str]) -> Result<PathBuf, String> {
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&dirs).collect();
    names
        .iter()
        .find_map(|name| dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file()))
        .ok_or_else(|| format!("{} is not installed", names[0]))
}

/// One browser with one tab.
pub struct Browser<'d> {
    driver: &'d Driver,
    session: String,
    _profile: TempDir,
}

impl Browser<'_> {
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let path = format!("/session/{}{path}", self.session);
        let answer = self.driver.command(method, &path, body);
        answer.unwrap_or_else(|(error, message)| panic!("{path}: {error}: {message}"))
    }

    pub fn go(&self, url: &str) {
        self.ask("POST", "/url", Some(&json!({ "url": url })));
    }

    pub fn reload(&self) {
        self.ask("POST", "/refresh", Some(&json!({})));
    }

    /// Makes the page this wide, as a phone or a window would.
    pub fn width(&self, pixels: u32) {
        let size = json!({
            "width": pixels, "height": 800, "deviceScaleFactor": 1, "mobile": false,
        });
        let command = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": size });
        self.ask("POST", "/goog/cdp/execute", Some(&command));
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", Some(&json!({ "script": script, "args": [] })))
    }

    /// Waits until an expression is true in the page.
    pub fn until(&self, condition: &str) {
        let script = format!(
            "const done = arguments[0];
             let timer;
             const look = () => {{
               if (!({condition})) return;
               observer.disconnect();
               clearInterval(timer);
               done();
             }};
             const observer = new MutationObserver(look);
             observer.observe(document, {{
               subtree: true, childList: true, attributes: true, characterData: true,
             }});
             // Scrolling and sizes change without a mutation.
             timer = setInterval(look, 100);
             look();"
        );
        let path = format!("/session/{}/execute/async", self.session);
        let body = json!({ "script": script, "args": [] });
        if let Err((error, _)) = self.driver.command("POST", &path, Some(&body)) {
            let page = self.run("return document.body.innerText + '\\n' + location.href");
            panic!("{error}: {condition}\nthe page shows:\n{}", page.as_str().unwrap_or_default());
        }
    }

    fn element(&self, css: &str) -> String {
        let query = json!({ "using": "css selector", "value": css });
        let found = self.ask("POST", "/element", Some(&query));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Clicks an element with the mouse: it must be there, visible and not covered.
    pub fn click(&self, css: &str) {
        let element = self.element(css);
        self.ask("POST", &format!("/element/{element}/click"), Some(&json!({})));
    }

    /// Types into an element.
    pub fn write(&self, css: &str, text: &str) {
        let element = self.element(css);
        let text = json!({ "text": text });
        self.ask("POST", &format!("/element/{element}/value"), Some(&text));
    }

    /// Types on the keyboard: into whatever has the focus. Shift goes down, and at its next
    /// mention up again.
    pub fn press(&self, text: &str) {
        let key = |kind: &str, key: char| json!({ "type": kind, "value": key });
        let mut actions: Vec<Value> = Vec::new();
        let mut shifted = false;
        for symbol in text.chars() {
            if symbol == keys::SHIFT {
                actions.push(key(if shifted { "keyUp" } else { "keyDown" }, symbol));
                shifted = !shifted;
            } else {
                actions.extend([key("keyDown", symbol), key("keyUp", symbol)]);
            }
        }
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.ask("POST", "/actions", Some(&json!({ "actions": [keyboard] })));
        self.ask("DELETE", "/actions", None);
    }

    /// The role an element has for a screen reader, and its name.
    pub fn spoken(&self, css: &str) -> (String, String) {
        let element = self.element(css);
        let ask = |what: &str| self.ask("GET", &format!("/element/{element}/{what}"), None);
        let [role, label] = ["computedrole", "computedlabel"].map(ask);
        (role.as_str().unwrap().to_owned(), label.as_str().unwrap().to_owned())
    }

    /// What the page complained about since this was last asked.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.ask("POST", "/se/log", Some(&json!({ "type": "browser" })));
        let severe = log.as_array().unwrap().iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // The browser ends with its session; the driver alone would leave it behind.
        let path = format!("/session/{}", self.session);
        if let Err((error, message)) = self.driver.command("DELETE", &path, None) {
            // Nothing may panic here: the test may be doing so already.
            let _nobody_reads =
                writeln!(std::io::stderr(), "a browser did not end: {error} {message}");
        }
    }
}
