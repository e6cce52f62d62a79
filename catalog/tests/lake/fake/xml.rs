//! The few forms of XML that S3 speaks.

use super::http::Response;

/// `<tag>text</tag>` with the text escaped.
pub(super) fn element(tag: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    format!("<{tag}>{text}</{tag}>")
}

pub(super) fn error(status: u16, code: &str, message: &str) -> Response {
    let (code, message) = (element("Code", code), element("Message", message));
    Response::xml(status, &format!("<Error>{code}{message}</Error>"))
}

/// What stands inside each element of this name, in order, not unescaped. The name must not nest.
pub(super) fn inside<'a>(xml: &'a str, tag: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let starts = xml.split(open.as_str()).skip(1);
    starts.filter_map(|after| after.split_once(close.as_str()).map(|(inside, _)| inside)).collect()
}

/// The text of the first element of this name.
pub(super) fn text(xml: &str, tag: &str) -> Option<String> {
    inside(xml, tag).first().map(|text| unescape(text))
}

pub(super) fn unescape(text: &str) -> String {
    let plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    plain.replace("&amp;", "&")
}
