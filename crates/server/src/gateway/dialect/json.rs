//! Reading JSON no further than needed: [`Object`], the members of one, and [`Weight`], whether a value says anything.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The members of an object in their order, each value as its text. No name is twice in it.
#[derive(Default)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// Reads an object; `None` for all else, and where a name is in it twice.
    pub(super) fn parse(json: &'a [u8]) -> Option<Object<'a>> {
        let Members(members) = serde_json::from_slice(json).ok()?;
        let mut names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        let is_unique = names.iter().zip(names.iter().skip(1)).all(|(one, next)| one != next);
        is_unique.then_some(Object(members))
    }

    /// Takes a member out.
    pub(super) fn remove(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.0.iter().position(|(member, _)| member == name)?;
        Some(self.0.remove(at).1)
    }

    /// Takes an object among the members out.
    pub(super) fn remove_object(&mut self, name: &str) -> Option<Object<'a>> {
        Object::parse(self.remove(name)?.get().as_bytes())
    }

    /// Takes the only element of an array among the members out, where it is an object.
    pub(super) fn remove_single(&mut self, name: &str) -> Option<Object<'a>> {
        let elements: Vec<&'a RawValue> = serde_json::from_str(self.remove(name)?.get()).ok()?;
        let &[element] = elements.as_slice() else { return None };
        Object::parse(element.get().as_bytes())
    }

    /// Takes a text that is not empty out: its JSON, quotes and all.
    pub(super) fn remove_text(&mut self, name: &str) -> Option<&'a str> {
        let raw = self.member(name)?.get();
        let is_text = serde_json::from_str(raw).is_ok_and(|Text(text)| !text.is_empty());
        if !is_text {
            return None;
        }
        self.remove(name).map(RawValue::get)
    }

    /// Whether a member is missing, null, or an empty text, array or object.
    pub(super) fn is_silent(&self, name: &str) -> bool {
        !says(self.member(name))
    }

    /// A member's text, decoded.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        text_of(self.member(name))
    }

    /// Whether no member but the named says anything.
    pub(super) fn is_silent_but(&self, name: &str) -> bool {
        self.0.iter().all(|(member, value)| member == name || !says(Some(value)))
    }

    /// The members that are left.
    pub(super) fn into_members(self) -> Vec<(Cow<'a, str>, &'a str)> {
        self.0.into_iter().map(|(name, value)| (name, value.get())).collect()
    }

    fn member(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(member, _)| member == name).map(|&(_, value)| value)
    }
}

/// The members of an object, in their order, as often as they are there.
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'de>, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

/// An object with other values under some names, which are added where they are missing; all else is byte for byte as it
/// was. `None` where it is no object.
pub(crate) fn with_members(object: &str, changes: &[(&str, Value)]) -> Option<String> {
    let Members(members) = serde_json::from_str(object).ok()?;
    let mut changed = String::with_capacity(object.len());
    let mut at = 0;
    for (name, value) in &members {
        let Some((_, new)) = changes.iter().find(|(changed, _)| changed == name) else { continue };
        let span = span_of(object.as_bytes(), value.get())?;
        changed.push_str(object.get(at..span.start)?);
        changed.push_str(&new.to_string());
        at = span.end;
    }
    let close = object.rfind('}')?;
    changed.push_str(object.get(at..close)?);
    let mut comma = if members.is_empty() { "" } else { "," };
    for (name, new) in changes {
        if members.iter().all(|(member, _)| member != name) {
            changed.push_str(&format!("{comma}{}:{new}", Value::from(*name)));
            comma = ",";
        }
    }
    changed.push_str(object.get(close..)?);
    Some(changed)
}

/// A text, borrowed where nothing in it is escaped.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// Whether a value says anything: not null, no empty text, array or object.
#[derive(Clone, Copy, Default)]
pub(super) struct Weight {
    pub(super) says: bool,
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Weight, D::Error> {
        struct Weigh;

        impl<'de> Visitor<'de> for Weigh {
            type Value = bool;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<bool, E> {
                Ok(false)
            }

            fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
                Ok(true)
            }

            fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
                Ok(true)
            }

            fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
                Ok(true)
            }

            fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
                Ok(true)
            }

            fn visit_str<E>(self, text: &str) -> Result<bool, E> {
                Ok(!text.is_empty())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
                let mut says = false;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    says = true;
                }
                Ok(says)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
                let mut says = false;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    says = true;
                }
                Ok(says)
            }
        }

        deserializer.deserialize_any(Weigh).map(|says| Weight { says })
    }
}

/// Whether a member that may be anything says something.
pub(super) fn says(raw: Option<&RawValue>) -> bool {
    part_of(raw).is_some_and(|Weight { says }| says)
}

/// A member's text, where it is one.
pub(super) fn text_of<'a>(raw: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
    part_of(raw).map(|Text(text)| text)
}

/// What a member holds, where it has the shape of `T`. Members are read this way where one of another shape must not
/// hide the event that it is in.
pub(super) fn part_of<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

/// Where in `whole` its part `part` is; `None` where it is none.
pub(super) fn span_of(whole: &[u8], part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}
