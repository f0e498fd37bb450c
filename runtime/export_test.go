package runtime

// StartSQL is what a start sends.
const StartSQL = startSQL
