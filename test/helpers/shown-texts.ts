/** Texts that can name something, in many scripts. */
export const SHOWN_TEXTS = [
  'rows',
  ' of many words ',
  'e\u0301te\u0301',
  '行',
  'ひ\u3000ら',
  'non\u00a0breaking',
  'שורות',
  'صفوف',
  // Persian, with a joiner that parts two letters; Malayalam, with one at the end of a word.
  'می\u200cخواهم',
  'ന്\u200d',
  // A woman at a computer, a heart on fire, the flags of Germany and of Scotland, a key.
  '👩\u200d💻',
  '❤\ufe0f\u200d🔥',
  '🇩🇪',
  '🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}',
  '1\ufe0f\u20e3',
]

/** Texts that cannot: nothing of them is seen, or they do something to the line that they stand in. */
export const UNSHOWN_TEXTS = [
  ' ',
  '\u3000\u00a0',
  '\u2800',
  '\u3164',
  '\ufe0f',
  '\u200d',
  'a\nb',
  'a\tb',
  'a\rb',
  'a\u0085b',
  'a\u2028b',
  '\u001b[31mred',
  'a\u007f',
  '\u202egnp.exe',
  'a\u202bb',
  'a\u2066b\u2069',
  'a\u200fb',
  'a\u200bb',
  'a\u200db',
  ' \u200ca',
  'a\u2060b',
  '\ufeffa',
  'so\u00adft',
  'a\u{e0061}\u{e0062}',
  '🏴\u{e0067}a\u{e0062}',
]
