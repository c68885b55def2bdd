use super::*;

/// What a message says in these tests.
struct Order;

impl PropertySource for Order {
    fn property(&self, name: &str) -> Option<Value<'_>> {
        Some(match name {
            "region" => Value::text("EU"),
            "price" => Value::text("12.5"),
            "count" => Value::I64(7),
            "ratio" => Value::F64(0.5),
            "flag" => Value::Bool(true),
            "said" => Value::text("true"),
            "x-type" => Value::text("a"),
            "tags" => Value::text("red,green"),
            "JMSXFoo" => Value::I64(1),
            "smallest" => Value::I64(i64::MIN),
            _ => return None,
        })
    }

    fn header(&self, header: Header) -> Option<Value<'_>> {
        match header {
            Header::Priority => Some(Value::I64(4)),
            Header::DeliveryMode => Some(Value::text("PERSISTENT")),
            Header::Type => Some(Value::text("abc")),
            _ => None,
        }
    }
}

fn selects(text: &str, convert_strings: bool) -> bool {
    match Selector::parse(text, SelectorOptions { convert_strings }) {
        Ok(selector) => selector.matches(&Order),
        Err(error) => panic!("{text}: {error}"),
    }
}

#[track_caller]
fn check(text: &str, expected: bool) {
    assert_eq!(selects(text, false), expected, "{text}");
}

#[track_caller]
fn check_converting(text: &str, expected: bool) {
    assert_eq!(selects(text, true), expected, "{text}");
}

#[track_caller]
fn check_invalid(text: &str, position: usize, problem: &str) {
    let error = Selector::parse(text, SelectorOptions::default()).expect_err(text);
    assert_eq!(
        (error.position, error.problem.as_str()),
        (position, problem),
        "{text}"
    );
}

#[test]
fn sel_1_precedence_and_words() {
    check("FALSE AND FALSE OR TRUE", true);
    check("TRUE OR TRUE AND FALSE", true);
    check("count = 1 + 2 * 3", true);
    check("count - 1 - 1 = 5", true);
    check("2 * count > 13 aNd region = 'EU'", true);
    check("NOT (region = 'US')", true);
    // NOT binds tightest: this is (NOT region) = 'US', a boolean and a string.
    check("NOT region = 'US'", false);
    check("Region = 'EU'", false);
    check("count /* between */ = -- seven\n 7", true);
    check("region IS NOT NULL AND nowhere IS NULL", true);
    check("count BETWEEN 7 AND 7 AND count NOT BETWEEN 8 AND 9", true);
    check("count = 7 = TRUE", true);
}

#[test]
fn sel_2_literals() {
    check("'it''s' = 'it''s'", true);
    check("'it''s' = 'its'", false);
    check("5L = 5 AND 5l = 5", true);
    check("0x1F = 31 AND 0X1fL = 31", true);
    check("017 = 15 AND 0 = 00", true);
    check("5.5 = 11 / 2 AND .5 = ratio AND 5. = 5", true);
    check("5e3 = 5000 AND 5E-1 = ratio AND 1.5e+1 = 15", true);
    check("-9223372036854775808 = smallest", true);
    check("9223372036854775807 + smallest = -1", true);
    check("-9223372036854775809 < smallest + 1", true);
    check("99999999999999999999 > 9223372036854775807", true);
    check("0xFFFFFFFFFFFFFFFF > 9223372036854775807", true);
    check("true and TRUE and not false", true);
}

#[test]
fn sel_3_unknown_selects_nothing() {
    for unknown in [
        "nowhere = 1",
        "nowhere <> 1",
        "NOT (nowhere = 1)",
        "nowhere = NULL",
        "NULL",
        "nowhere",
        "nowhere LIKE '%'",
        "nowhere NOT IN ('a')",
        "nowhere BETWEEN 1 AND 2",
        "nowhere + 1 = 1",
    ] {
        check(unknown, false);
        check(&format!("NOT ({unknown})"), false);
        check(&format!("({unknown}) IS NULL"), true);
        check(&format!("({unknown}) OR TRUE"), true);
        check(&format!("NOT (({unknown}) AND FALSE)"), true);
    }
}

#[test]
fn sel_4_types() {
    check("count = 7.0 AND ratio < 1 AND count > ratio", true);
    check("price > 10", false);
    check("price <> 10", false);
    check("said = TRUE", false);
    check("flag", true);
    check("said", false);
    check("7 / 2 = 3.5 AND 6 / 2 = 3 AND 7 % 4 = 3", true);
    check("count % 0 IS NULL AND count / 0 > 1", true);
    check("region + '-' + 'x' = 'EU-x'", true);
    check("9007199254740993 > 9007199254740992.0", true);
    check_converting("price > 10 AND price < 12.6 AND '12.50' = price + 0", true);
    check_converting("region = 'EU' AND price > 10", true);
    check_converting("said = TRUE AND said AND said <> FALSE", true);
    check_converting("region > 10", false);
    check_converting("region = TRUE", false);
    check_converting("JMSPriority = '4' AND price > JMSPriority", true);
    check_converting("price + 1 = 13.5", true);
    check("convert_string_expressions:price > 10", true);
}

#[test]
fn sel_4_order_is_for_numbers() {
    let problem = "strings and conditions compare by = and <> only";
    check_invalid("a < 'x'", 5, problem);
    check_invalid("'x' >= a", 1, problem);
    check_invalid("a > TRUE", 5, problem);
    check_invalid("a BETWEEN 'a' AND 'b'", 11, problem);
    check_invalid("a BETWEEN 1 AND 'b'", 17, problem);
    check_invalid("a = 1 AND (b = 2) < 3", 11, problem);
}

#[test]
fn sel_5_in_and_like() {
    check("region IN ('US', 'EU', 'EU')", true);
    check("region NOT IN ('US')", true);
    check("count IN ('7')", false);
    check("count NOT IN ('7')", false);
    check("JMSType LIKE 'a_%'", true);
    check("count LIKE '%'", false);
    check("count NOT LIKE '%'", true);
    check("region LIKE 'E!_' ESCAPE '!'", false);
    check_invalid("5 IN ('a')", 1, "IN stands behind a name only");
    check_invalid(
        "a IN (5)",
        7,
        "expected a string of the list of IN, found a number",
    );
    check_invalid(
        "a IN ()",
        7,
        "expected a string of the list of IN, found ')'",
    );
    check_invalid(
        "a LIKE 5",
        8,
        "expected the pattern of LIKE, a string, found a number",
    );
    check_invalid(
        "a LIKE 'x' ESCAPE '!!'",
        19,
        "ESCAPE takes exactly one character",
    );
}

#[test]
fn sel_6_headers_and_quoted_names() {
    for header in Header::ALL {
        assert_eq!(Header::from_name(header.name()), Some(*header));
    }
    check("JMSPriority = 4 AND JMSDeliveryMode = 'PERSISTENT'", true);
    check("JMSTimestamp IS NULL AND JMSXFoo = 1", true);
    check("jmspriority IS NULL", true);
    check("\"x-type\" = 'a' AND \"region\" IN ('EU')", true);
    check("\"a \"\"b\"\"\" IS NULL", true);
    // In quotes even a header's name is a property's.
    check("\"JMSPriority\" IS NULL", true);
}

#[test]
fn sel_7_functions() {
    check("REGEX('^E.$', region)", true);
    check("regex('^e', region)", false);
    check("REGEX('U', region) AND NOT REGEX('7', count)", true);
    check("REGEX('.', nowhere) IS NULL", true);
    check("INLIST(MAKELIST('US', region), 'EU')", true);
    check("INLIST(MAKELIST(1, 7.0, 'x'), count)", true);
    check("INLIST(SPLIT(tags, ','), 'green')", true);
    check("INLIST(SPLIT(tags, ','), 'blue')", false);
    check("INLIST(SPLIT('a,b', ','), nowhere) IS NULL", true);
    check_invalid("XPATH '//a'", 1, "XPATH is not supported");
    check_invalid("a = 1 AND xquery('x')", 11, "XQUERY is not supported");
    check_invalid(
        "REPLACE('a', 'b', 'c') = 'x'",
        1,
        "REPLACE() is not supported; REGEX and INLIST are",
    );
    check_invalid("REGEX('(', a)", 7, "unclosed group");
    check_invalid(
        "REGEX(a, 'x')",
        7,
        "expected the regular expression, a string, found \"a\"",
    );
    check_invalid(
        "INLIST('a', b)",
        8,
        "expected MAKELIST(…) or SPLIT(…), the list of INLIST, found a string",
    );
}

#[test]
fn sel_8_errors_say_where_and_what() {
    check_invalid("", 1, "expected a value, found the end");
    check_invalid("foo.bar = 1", 4, "unexpected '.'");
    check_invalid("a = 1 b", 7, "expected an operator or the end, found \"b\"");
    check_invalid("a = ", 5, "expected a value, found the end");
    check_invalid("a = AND", 5, "expected a value, found \"AND\"");
    check_invalid("(a = 1", 7, "expected an operator or ')', found the end");
    check_invalid("a = 1)", 6, "expected an operator or the end, found ')'");
    check_invalid("a = 'x", 5, "this string has no closing quote");
    check_invalid(
        "\"\" = 1",
        1,
        "this name has no closing quote, or nothing in it",
    );
    check_invalid("a = 08", 5, "malformed number");
    check_invalid("a = 1x", 5, "malformed number");
    check_invalid("a /* x", 3, "this comment has no end");
    check_invalid("ü = 1", 1, "unexpected 'ü'");
    check_invalid("'ü' = # 1", 7, "unexpected '#'");
    check_invalid(
        "a NOT 1",
        7,
        "expected BETWEEN, LIKE or IN after NOT, found a number",
    );
    check_invalid("a IS 1", 6, "expected NULL or NOT NULL, found a number");
    check_invalid("5", 1, "expected a condition, which is TRUE or FALSE");
    check_invalid(
        "a AND 'x'",
        7,
        "expected a condition, which is TRUE or FALSE",
    );
    check_invalid("NOT 5", 5, "expected a condition, which is TRUE or FALSE");
    check_invalid("a + 1", 1, "expected a condition, which is TRUE or FALSE");
    let error = Selector::parse("a =", SelectorOptions::default()).unwrap_err();
    let said = "invalid selector at character 4: expected a value, found the end";
    assert_eq!(error.to_string(), said);
}

#[test]
fn hostile_texts_cost_nothing() {
    let deep = format!("{}TRUE{}", "(".repeat(5000), ")".repeat(5000));
    check_invalid(&deep, 65, "nested more than 64 deep");
    let signs = format!("a = {}1", "- ".repeat(5000));
    check_invalid(&signs, 133, "nested more than 64 deep");
    let long = format!("a = 1{}", " + 1 + a".repeat(5000));
    assert!(Selector::parse(&long, SelectorOptions::default()).is_err());
    let huge = "a".repeat(100_000);
    check_invalid(&huge, 65537, "longer than 65536 octets");
    let pattern = format!("a LIKE '{}'", "%a".repeat(1000));
    check_invalid(&pattern, 8, "the pattern is longer than 1024 octets");
    let regex = Selector::parse("REGEX('(\\w{200}){200}', a)", SelectorOptions::default());
    assert!(regex.unwrap_err().problem.contains("size"));
    // As deep and as long as it may be, it still evaluates.
    let chain = format!(
        "{}a{} IS NULL",
        "(".repeat(60),
        " + 1 - b".repeat(250) + &")".repeat(60)
    );
    check(&chain, true);
    let list = (0..5000)
        .map(|n| format!("'{n}'"))
        .collect::<Vec<_>>()
        .join(",");
    check(&format!("region IN ({list},'EU')"), true);
}

#[test]
fn constants_are_calculated_once() {
    let folded = |text: &str| {
        let selector = Selector::parse(text, SelectorOptions::default()).unwrap();
        matches!(selector.root, ast::Expr::Literal(_))
    };
    assert!(folded("1 + 2 = 3 AND 'a' LIKE 'a%' OR NULL"));
    assert!(folded("a = 1 AND FALSE"));
    assert!(folded("a = 1 OR NOT FALSE"));
    assert!(!folded("a = 1 AND TRUE"));
}
