//! What a visitor sees.

/// What is known of the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// The store was not asked yet.
    Waiting,
    /// The key has no value.
    Unset,
    /// The value.
    Text(String),
    /// The value as last seen, and why it may be old.
    Stale(String, String),
    /// The store cannot be reached, and was not before.
    Away(String),
}

impl Greeting {
    /// The status line's code and words.
    pub(crate) fn status(&self) -> &'static str {
        match self {
            Self::Waiting | Self::Away(_) => "503 Service Unavailable",
            Self::Unset | Self::Text(_) | Self::Stale(..) => "200 OK",
        }
    }
}

/// For curl and its like.
pub(crate) fn text(key: &str, greeting: &Greeting) -> String {
    match greeting {
        Greeting::Waiting => "The store has not answered yet.\n".to_owned(),
        Greeting::Unset => format!("No greeting yet. Set one: etcdctl put {key} hi\n"),
        Greeting::Text(text) => format!("{text}\n"),
        Greeting::Stale(text, reason) => format!("{text}\n(as last seen: {reason})\n"),
        Greeting::Away(reason) => format!("The store cannot be reached: {reason}\n"),
    }
}

/// For a browser. It asks for itself again every second, so that a change shows without a script.
pub(crate) fn html(key: &str, greeting: &Greeting) -> String {
    let (large, small) = match greeting {
        Greeting::Text(text) => (escape(text), format!("<code>{key}</code>, as the store has it now")),
        Greeting::Stale(text, reason) => (escape(text), format!("as last seen: {}", escape(reason))),
        Greeting::Unset => ("Hello?".to_owned(), format!("no value yet: <code>etcdctl put {key} hi</code>")),
        Greeting::Waiting => ("…".to_owned(), "the store has not answered yet".to_owned()),
        Greeting::Away(reason) => ("…".to_owned(), format!("the store cannot be reached: {}", escape(reason))),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"1\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Hull: hello</title><style>\
         body{{margin:0;min-height:100vh;display:grid;place-content:center;text-align:center;\
         font:1rem/1.5 system-ui,sans-serif;background:#10212e;color:#dfe9ef}}\
         h1{{font-size:clamp(2rem,8vw,5rem);margin:0 1rem;overflow-wrap:anywhere}}\
         p{{color:#8fb0c4}}code{{color:#ffd27f}}</style></head>\
         <body><h1>{large}</h1><p>{small}</p></body></html>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_bring_markup_of_its_own() {
        let page = html("/k", &Greeting::Text("<script>alert(1)</script>".into()));
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"));
    }

    #[test]
    fn curl_sees_the_value_first() {
        assert_eq!(text("/k", &Greeting::Text("hi".into())), "hi\n");
        assert!(text("/k", &Greeting::Stale("hi".into(), "gone".into())).starts_with("hi\n"));
    }

    #[test]
    fn without_a_store_it_says_so_instead_of_an_empty_page() {
        assert!(Greeting::Away("refused".into()).status().starts_with("503"));
        assert!(text("/k", &Greeting::Away("refused".into())).contains("refused"));
    }
}
