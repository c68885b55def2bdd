use proptest::prelude::*;

use super::*;

fn text(text: &str) -> MapValue {
    MapValue::String(text.to_owned())
}

fn entry(key: &str, value: MapValue) -> (String, MapValue) {
    (key.to_owned(), value)
}

#[test]
fn both_forms_are_those_of_activemq() {
    let entries = [
        entry("name", text("Dejan <&>")),
        entry("age", MapValue::Int(5)),
        entry("big", MapValue::Long(i64::MIN)),
        entry("on", MapValue::Boolean(true)),
        entry("ratio", MapValue::Double(0.5)),
        entry("raw", MapValue::Bytes(b"\0\x01\x02\xff".to_vec())),
        entry("none", MapValue::Null),
    ];
    let json = to_json(&entries);
    let expected = concat!(
        r#"{"map":{"entry":[{"string":["name","Dejan <&>"]},{"int":5,"string":"age"},"#,
        r#"{"long":-9223372036854775808,"string":"big"},{"boolean":true,"string":"on"},"#,
        r#"{"double":0.5,"string":"ratio"},{"byte-array":"AAEC/w==","string":"raw"},{"null":"","string":"none"}]}}"#
    );
    assert_eq!(json, expected);
    assert_eq!(from_json(&json).unwrap(), entries);
    let xml = to_xml(&entries);
    let expected = concat!(
        "<map><entry><string>name</string><string>Dejan &lt;&amp;&gt;</string></entry>",
        "<entry><string>age</string><int>5</int></entry>",
        "<entry><string>big</string><long>-9223372036854775808</long></entry>",
        "<entry><string>on</string><boolean>true</boolean></entry>",
        "<entry><string>ratio</string><double>0.5</double></entry>",
        "<entry><string>raw</string><byte-array>AAEC/w==</byte-array></entry>",
        "<entry><string>none</string><null/></entry></map>"
    );
    assert_eq!(xml, expected);
    assert_eq!(from_xml(&xml).unwrap(), entries);
}

#[test]
fn forms_of_other_writers_are_read() {
    let one = vec![entry("k", text("5"))];
    for json in [
        r#"{"map":{"entry":{"string":["k","5"]}}}"#,
        r#"{"map":{"entry":[{"string":["k",5]}]}}"#,
    ] {
        assert_eq!(from_json(json).as_ref(), Ok(&one), "{json}");
    }
    for json in [r#"{"map":""}"#, r#"{"map":{}}"#, r#"{"map":{"entry":[]}}"#] {
        assert_eq!(from_json(json), Ok(Vec::new()), "{json}");
    }
    for xml in [
        "<?xml version='1.0'?>\n<map>\n  <entry>\n    <string>k</string>\n    <string>5</string>\n  </entry>\n</map>\n",
        "<map class='linked'><!-- x --><entry><string>&#107;</string><string><![CDATA[5]]></string></entry></map>",
    ] {
        assert_eq!(from_xml(xml).as_ref(), Ok(&one), "{xml}");
    }
    assert_eq!(from_xml("<map/>"), Ok(Vec::new()));
}

#[test]
fn what_is_no_map_is_refused_with_its_reason() {
    let json = |text: &str| from_json(text).expect_err(text).to_string();
    assert!(json("{").starts_with("not JSON"), "{}", json("{"));
    assert_eq!(json("{}"), "not a map: 'map' is missing");
    assert_eq!(
        json(r#"{"map":{"entry":[{"string":"k","int":"x"}]}}"#),
        "'x' is no int"
    );
    assert_eq!(
        json(r#"{"map":{"entry":[{"string":"k","list":""}]}}"#),
        "a map message has no values of type 'list'"
    );
    let deep = "<a>".repeat(1000);
    for xml in [
        "",
        "<map>",
        "<map></amp>",
        "<map><entry/></map>",
        "<list/>",
        "<map/><map/>",
        "<!DOCTYPE map [<!ENTITY a 'b'>]><map/>",
        "<map><entry><string>&a;</string><null/></entry></map>",
        deep.as_str(),
    ] {
        assert!(from_xml(xml).is_err(), "{xml}");
    }
}

fn value() -> impl Strategy<Value = MapValue> {
    prop_oneof![
        Just(MapValue::Null),
        any::<bool>().prop_map(MapValue::Boolean),
        any::<i8>().prop_map(MapValue::Byte),
        any::<i16>().prop_map(MapValue::Short),
        any::<i32>().prop_map(MapValue::Int),
        any::<i64>().prop_map(MapValue::Long),
        any::<f32>().prop_map(MapValue::Float),
        any::<f64>().prop_map(MapValue::Double),
        any::<u16>().prop_map(MapValue::Char),
        "\\PC*".prop_map(MapValue::String),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(MapValue::Bytes),
    ]
}

/// Not a number is never equal to itself.
fn shown(entries: &MapEntries) -> String {
    format!("{entries:?}")
}

proptest! {
    #[test]
    fn what_is_written_is_read(entries in proptest::collection::vec(("\\PC*", value()), 0..8)) {
        let expected = shown(&entries);
        prop_assert_eq!(&shown(&from_json(&to_json(&entries)).unwrap()), &expected);
        prop_assert_eq!(&shown(&from_xml(&to_xml(&entries)).unwrap()), &expected);
    }

    #[test]
    fn no_text_brings_a_reader_down(text in "(<|>|/|map|entry|string|&|;|#|x|!|\\[|\\]|-|\\{|\"|:|\\PC)*") {
        let _ = (from_json(&text), from_xml(&text));
    }
}
