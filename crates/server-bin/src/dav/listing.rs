//! The answer to PROPFIND: what is in a folder, and of each entry what was asked for, with a status for each property.

use std::fmt::Write;
use std::sync::Arc;
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use dav_server::ls::DavLock;
use futures_util::stream;
use proto::{DriveNode, DrivePath};
use store::{AccountId, QuotaUse};
use xmltree::{Element, XMLNode};

use crate::base_path::BasePath;
use crate::dav::locks::DriveLocks;
use crate::dav::{PREFIX, system_time};
use crate::drive::{DriveError, Properties};
use crate::rest::content::broken;
use crate::rest::parse::{encoded, etag};
use crate::rest::problem::{self, Problem};
use crate::rest::{Drive, on_pool};
use crate::service::Service;

const DAV: &str = "DAV:";
const START: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\">";
const END: &str = "</D:multistatus>\n";
const OK: &str = "200 OK";
const NOT_FOUND: &str = "404 Not Found";
/// What everything comprises. What has been used of a quota is told only to who asks: it has to be added up.
const LIVE: [&str; 7] = [
    "resourcetype",
    "getcontentlength",
    "getcontenttype",
    "getetag",
    "getlastmodified",
    "supportedlock",
    "lockdiscovery",
];
const SUPPORTED_LOCKS: &str = "<D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>\
                               </D:lockentry><D:lockentry><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/>\
                               </D:locktype></D:lockentry>";
/// Entries that are written at once.
const BATCH: usize = 256;

/// A property, by its name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    namespace: String,
    name: String,
}

impl Name {
    /// The element without content.
    fn empty(&self) -> String {
        match self.namespace == DAV {
            true => format!("<D:{}/>", self.name),
            false => format!("<{} xmlns=\"{}\"/>", self.name, escaped(&self.namespace)),
        }
    }
}

/// What is to be told of each entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Whatever there is, and these.
    Everything(Vec<Name>),
    /// Which properties there are.
    Names,
    These(Vec<Name>),
}

impl Wanted {
    /// Reads the body of the request.
    ///
    /// # Errors
    /// The answer when it asks for nothing.
    pub(super) fn read(xml: &[u8]) -> Result<Self, Problem> {
        if xml.is_empty() {
            return Ok(Self::Everything(Vec::new()));
        }
        let bad = || problem::new(StatusCode::BAD_REQUEST, "the body does not say which properties are wanted");
        let root = Element::parse(xml).map_err(|_| bad())?;
        if root.name != "propfind" || root.namespace.as_deref() != Some(DAV) {
            return Err(bad());
        }
        let elements =
            |of: &Element| -> Vec<Element> { of.children.iter().filter_map(XMLNode::as_element).cloned().collect() };
        let children = elements(&root);
        let child =
            |name: &str| children.iter().find(|child| child.name == name && child.namespace.as_deref() == Some(DAV));
        let names = |of: &Element| -> Vec<Name> {
            let name = |element: Element| Name { namespace: element.namespace.unwrap_or_default(), name: element.name };
            elements(of).into_iter().map(name).collect()
        };
        match (child("prop"), child("propname"), child("allprop")) {
            (Some(prop), _, _) => Ok(Self::These(names(prop))),
            (None, Some(_), _) => Ok(Self::Names),
            (None, None, Some(_)) => Ok(Self::Everything(child("include").map(names).unwrap_or_default())),
            (None, None, None) => Err(bad()),
        }
    }

    fn is_quota(&self) -> bool {
        let (Self::These(names) | Self::Everything(names)) = self else { return false };
        names.iter().any(|name| name.name.starts_with("quota-"))
    }
}

/// A file or folder.
struct Entry {
    path: DrivePath,
    /// Version and size of a file.
    file: Option<(u64, u64)>,
    mtime: Option<SystemTime>,
}

impl Entry {
    fn href(&self, base_path: &BasePath) -> String {
        let slash = if self.file.is_none() && !self.path.is_root() { "/" } else { "" };
        format!("{base_path}{PREFIX}/{}{slash}", encoded(self.path.as_bytes()))
    }
}

/// What all entries of an answer have in common.
struct Listing {
    wanted: Wanted,
    locks: DriveLocks,
    has_properties: bool,
    quota: Option<QuotaUse>,
    base_path: BasePath,
}

/// Lists an entry, and with `is_deep` what is in it.
pub(super) async fn list(
    service: &Arc<Service>,
    (account, drive): (AccountId, Drive),
    path: DrivePath,
    (wanted, is_deep): (Wanted, bool),
    locks: DriveLocks,
) -> Result<Response, Problem> {
    let opened = drive.clone();
    let found = on_pool(service, "listing a folder", move |service| {
        let of_drive = |error: &DriveError| problem::of_drive("listing a folder", error);
        let view = opened.view(service);
        let file = view.look(&path).map_err(|error| of_drive(&error))?;
        let entries = match is_deep && file.is_none() {
            true => view.list(&path).map_err(|error| of_drive(&error))?,
            false => Vec::new(),
        };
        let store = &service.home.store;
        let of_store = |error| problem::of_store("listing a folder", &error);
        let is_quota = wanted.is_quota() && path.is_root();
        let listing = Listing {
            has_properties: store.has_drive_properties(opened.vault.id).map_err(of_store)?,
            quota: is_quota.then(|| store.quota_use(account)).transpose().map_err(of_store)?,
            wanted,
            locks,
            base_path: service.home.settings.base_path.clone(),
        };
        let mut all = vec![Entry {
            file: file.as_ref().map(|file| (file.version, file.size)),
            mtime: file.as_ref().and_then(|file| system_time(file.mtime)),
            path: path.clone(),
        }];
        all.extend(entries.into_iter().filter_map(|entry| {
            let name = entry.name?;
            let path = match path.is_root() {
                true => name.as_bytes().to_vec(),
                false => [&path.as_bytes()[..], b"/", name.as_bytes()].concat(),
            };
            let (file, mtime) = match entry.node {
                DriveNode::Directory => (None, None),
                DriveNode::File { size, .. } => (Some((entry.version, size)), system_time(entry.mtime)),
            };
            Some(Entry { path: DrivePath::new(path.into())?, file, mtime })
        }));
        Ok((listing, all))
    });
    let (listing, entries) = found.await?;
    let state = Some((Arc::clone(service), drive, Arc::new(listing), entries.into_iter(), START.to_owned()));
    let chunks = stream::try_unfold(state, |state| async move {
        let Some((service, drive, listing, mut entries, mut text)) = state else { return Ok(None) };
        let batch: Vec<Entry> = entries.by_ref().take(BATCH).collect();
        let (writing, opened, shared) = (Arc::clone(&service), drive.clone(), Arc::clone(&listing));
        let written = service.pool.run(move || {
            let is_last = batch.is_empty();
            for entry in &batch {
                // What went away meanwhile has none.
                let properties = match shared.has_properties {
                    true => opened.view(&writing).properties(&entry.path).unwrap_or_default(),
                    false => Properties::default(),
                };
                shared.write(&mut text, entry, &properties);
            }
            if is_last {
                text.push_str(END);
            }
            (text, is_last)
        });
        let (text, is_last) = written.await.map_err(|error| broken(&error))?;
        let next = (!is_last).then(|| (service, drive, listing, entries, String::new()));
        Ok::<_, std::io::Error>(Some((Bytes::from(text), next)))
    });
    let headers = [(header::CONTENT_TYPE, "application/xml; charset=utf-8")];
    Ok((StatusCode::MULTI_STATUS, headers, Body::from_stream(chunks)).into_response())
}

impl Listing {
    fn write(&self, text: &mut String, entry: &Entry, properties: &Properties) {
        let (mut found, mut missing) = (String::new(), String::new());
        let live = |name: &str| Some(format!("<D:{name}>{}</D:{name}>", self.live(name, entry)?));
        let one = |name: &Name, found: &mut String, missing: &mut String| {
            let live = if name.namespace == DAV { live(&name.name) } else { None };
            match live.as_deref().or_else(|| properties.find(&name.namespace, &name.name).map(undeclared)) {
                Some(xml) => found.push_str(xml),
                None => missing.push_str(&name.empty()),
            }
        };
        match &self.wanted {
            Wanted::These(names) => names.iter().for_each(|name| one(name, &mut found, &mut missing)),
            Wanted::Names => {
                LIVE.iter()
                    .filter(|name| live(name).is_some())
                    .for_each(|name| found.push_str(&format!("<D:{name}/>")));
                for property in &properties.0 {
                    let (namespace, name) = (property.namespace.clone(), property.name.clone());
                    found.push_str(&Name { namespace, name }.empty());
                }
            }
            Wanted::Everything(more) => {
                LIVE.iter().filter_map(|name| live(name)).for_each(|xml| found.push_str(&xml));
                properties.0.iter().for_each(|property| found.push_str(undeclared(&property.xml)));
                let is_told = |name: &&Name| {
                    let is_live = name.namespace == DAV && LIVE.contains(&name.name.as_str());
                    is_live || properties.find(&name.namespace, &name.name).is_some()
                };
                more.iter().filter(|name| !is_told(name)).for_each(|name| one(name, &mut found, &mut missing));
            }
        }
        let _ = write!(text, "<D:response><D:href>{}</D:href>", entry.href(&self.base_path));
        // An answer without any is none.
        let is_empty = found.is_empty() && missing.is_empty();
        for (properties, status) in [(found, OK), (missing, NOT_FOUND)] {
            if !properties.is_empty() || (is_empty && status == OK) {
                let _ = write!(
                    text,
                    "<D:propstat><D:prop>{properties}</D:prop><D:status>HTTP/1.1 {status}</D:status></D:propstat>"
                );
            }
        }
        text.push_str("</D:response>\n");
    }

    /// What is in a property that the server knows itself.
    fn live(&self, name: &str, entry: &Entry) -> Option<String> {
        match name {
            "resourcetype" => Some(if entry.file.is_none() { "<D:collection/>".to_owned() } else { String::new() }),
            "getcontentlength" => entry.file.map(|(_, size)| size.to_string()),
            "getcontenttype" => entry.file.map(|_| "application/octet-stream".to_owned()),
            "getetag" => entry.file.map(|(version, _)| etag(version)),
            "getlastmodified" => entry.mtime.map(httpdate::fmt_http_date),
            "supportedlock" => Some(SUPPORTED_LOCKS.to_owned()),
            "lockdiscovery" => {
                let locks = self.locks.covering(&entry.path);
                Some(locks.iter().map(|lock| active_lock(lock, &self.base_path)).collect())
            }
            "quota-used-bytes" => self.quota.filter(|_| entry.path.is_root()).map(|quota| quota.used_bytes.to_string()),
            "quota-available-bytes" => self.quota.filter(|_| entry.path.is_root())?.left().map(|left| left.to_string()),
            _ => None,
        }
    }
}

fn active_lock(lock: &DavLock, base_path: &BasePath) -> String {
    let mut owner = Vec::new();
    if let Some(element) = &lock.owner
        && element.write(&mut owner).is_err()
    {
        owner.clear();
    }
    format!(
        "<D:activelock><D:lockscope><D:{}/></D:lockscope><D:locktype><D:write/></D:locktype><D:depth>{}</D:depth>{}\
         <D:timeout>Second-{}</D:timeout><D:locktoken><D:href>{}</D:href></D:locktoken>\
         <D:lockroot><D:href>{base_path}{PREFIX}{}</D:href></D:lockroot></D:activelock>",
        if lock.shared { "shared" } else { "exclusive" },
        if lock.deep { "infinity" } else { "0" },
        undeclared(&String::from_utf8_lossy(&owner)),
        lock.timeout.unwrap_or_default().as_secs(),
        lock.token,
        encoded(lock.path.as_bytes()),
    )
}

/// An element without what stands before the first of a document.
fn undeclared(xml: &str) -> &str {
    match xml.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")) {
        Some((_, xml)) => xml,
        None => xml,
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_read() {
        let read = |xml: &str| Wanted::read(xml.as_bytes()).map_err(|problem| problem.status());
        let name = |namespace: &str, name: &str| Name { namespace: namespace.to_owned(), name: name.to_owned() };
        let find = |what: &str| format!("<D:propfind xmlns:D=\"DAV:\">{what}</D:propfind>");
        assert_eq!(read(""), Ok(Wanted::Everything(Vec::new())));
        assert_eq!(read(&find("<D:propname/>")), Ok(Wanted::Names));
        let include = "<D:allprop/><D:include><D:quota-used-bytes/></D:include>";
        assert_eq!(read(&find(include)), Ok(Wanted::Everything(vec![name(DAV, "quota-used-bytes")])));
        let prop = "<D:prop><D:getetag/><x:a xmlns:x=\"urn:x\"/><b/></D:prop>";
        assert_eq!(read(&find(prop)), Ok(Wanted::These(vec![name(DAV, "getetag"), name("urn:x", "a"), name("", "b")])));
        for wrong in ["<a/>", "<D:propfind", &find(""), "<propfind><prop/></propfind>", &find("<prop/>")] {
            assert_eq!(read(wrong), Err(StatusCode::BAD_REQUEST), "{wrong}");
        }
    }

    #[test]
    fn names_cannot_break_out() {
        let name = Name { namespace: "a\"><b>&".to_owned(), name: "c".to_owned() };
        assert_eq!(name.empty(), "<c xmlns=\"a&quot;&gt;&lt;b&gt;&amp;\"/>");
        assert_eq!(undeclared("<?xml version=\"1.0\"?><a/>"), "<a/>");
        assert_eq!(undeclared("<a/>"), "<a/>");
    }
}
