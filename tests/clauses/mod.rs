//! One module a theme; each test proves the clause in its name.
