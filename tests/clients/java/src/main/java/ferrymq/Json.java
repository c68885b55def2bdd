package ferrymq;

/** Values as the tests read them. */
final class Json {
    private Json() {}

    static String text(String value) {
        StringBuilder out = new StringBuilder("\"");
        for (char character : value.toCharArray()) {
            if (character == '"' || character == '\\') {
                out.append('\\').append(character);
            } else if (character < ' ') {
                out.append(String.format("\\u%04x", (int) character));
            } else {
                out.append(character);
            }
        }
        return out.append('"').toString();
    }

    /** An object of names and values in turn; a value that is no text stands as it is. */
    static String object(Object... members) {
        StringBuilder out = new StringBuilder("{");
        for (int at = 0; at < members.length; at += 2) {
            Object value = members[at + 1];
            out.append(at == 0 ? "" : ",").append(text((String) members[at])).append(':');
            out.append(value instanceof String ? text((String) value) : value);
        }
        return out.append('}').toString();
    }
}
