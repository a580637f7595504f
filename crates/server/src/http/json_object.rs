//! JSON that must be an object: [`JsonObject`].

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A struct that is read from an object only. By itself a struct that derives `Deserialize` takes an array as well, for
/// its members in their order, which no protocol means and which would change with the order of the fields.
pub(crate) struct JsonObject<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for JsonObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<JsonObject<T>, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(JsonObject)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Pair {
        a: u64,
        b: Option<u64>,
    }

    #[test]
    fn an_array_is_no_object() {
        let read = |text| serde_json::from_str::<JsonObject<Pair>>(text);
        let JsonObject(Pair { a, b }) = read(r#"{"b":2,"a":1}"#).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((a, b), (1, Some(2)));
        for text in ["[1,2]", "[]", "1", "null", "\"a\""] {
            let error = read(text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("expected an object"), "{text}: {error}");
        }
    }
}
