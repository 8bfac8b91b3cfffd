import Glibc

/// What a terminal can show.
enum Style {
    case plain
    case colour

    /// ANSI colours by meaning.
    enum Tone: String {
        case heading = "1"
        case good = "32"
        case notice = "33"
        case bad = "31"
    }

    func paint(_ text: String, _ tone: Tone?) -> String {
        guard self == .colour, let tone else { return text }
        return "\u{1B}[\(tone.rawValue)m\(text)\u{1B}[0m"
    }
}

/// The process's own terminal.
enum Terminal {
    /// Colour on a terminal only, and not where `NO_COLOR` is set to anything (no-color.org) or the terminal is dumb.
    static var style: Style {
        let refused =
            unsafe getenv("NO_COLOR").map { unsafe $0.pointee != 0 } ?? false
            || getenv("TERM").map { unsafe strcmp($0, "dumb") == 0 } ?? false
        return isatty(STDOUT_FILENO) == 1 && !refused ? .colour : .plain
    }

    /// A line to standard output; false where it could not be written whole.
    static func show(_ text: String) -> Bool {
        print(text)
        return fflush(nil) == 0
    }

    /// A line to standard error.
    static func complain(_ text: String) {
        let bytes = Array((text + "\n").utf8)
        _ = unsafe write(STDERR_FILENO, bytes, bytes.count)
    }
}
