/**
 * The name of a heading in an address, as GitHub makes it: small letters, without punctuation, a hyphen for each space. So a link
 * to a heading leads there in the site as in the repository. test/helpers/manual.ts follows the same rule.
 */
export const slugify = heading =>
  heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\p{M}\s_-]/gu, '')
    .replace(/\s/g, '-')
