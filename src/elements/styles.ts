import { css } from 'lit'

/**
 * Colours follow the text of the page, so that the elements fit into dark and light pages. Everything that a page may want to
 * change is a custom property or a part.
 */
export const shared = css`
  :host {
    --_accent: var(--headway-accent, #2563eb);
    --_success: var(--headway-success, #15803d);
    --_danger: var(--headway-danger, #c81e1e);
    --_warning: var(--headway-warning, #b45309);
    --_success-text: color-mix(in srgb, var(--_success) 65%, currentcolor);
    --_danger-text: color-mix(in srgb, var(--_danger) 65%, currentcolor);
    --_warning-text: color-mix(in srgb, var(--_warning) 65%, currentcolor);
    --_border: var(--headway-border, color-mix(in srgb, currentcolor 20%, transparent));
    --_track: var(--headway-track, color-mix(in srgb, currentcolor 14%, transparent));
    --_muted: var(--headway-muted, color-mix(in srgb, currentcolor 75%, transparent));
    --_radius: var(--headway-radius, 6px);
    --_gap: var(--headway-gap, 8px);
    --_bar: var(--headway-bar-height, 8px);
    display: block;
    font: var(--headway-font, inherit);
    line-height: 1.4;
  }
  /* What is inherited would take the layout apart. Not on the host itself, whose rules a page may undo. */
  :host > * {
    white-space: normal;
    text-indent: 0;
    text-align: start;
    overflow-wrap: anywhere;
  }
  :host([hidden]) {
    display: none;
  }
  [hidden] {
    display: none !important;
  }
  *,
  ::before,
  ::after {
    box-sizing: border-box;
  }
  button {
    font: inherit;
    color: inherit;
    cursor: pointer;
  }
  button:focus-visible {
    outline: 2px solid var(--_accent);
    outline-offset: 2px;
  }
  .muted {
    color: var(--_muted);
  }
  .small {
    font-size: 0.875em;
  }
  .spoken {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
  .spinner {
    flex: none;
    width: 1em;
    height: 1em;
    border: 2px solid var(--_track);
    border-top-color: var(--_accent);
    border-radius: 50%;
    animation: turn 0.9s linear infinite;
  }
  @keyframes turn {
    to {
      transform: rotate(1turn);
    }
  }
  .mark {
    flex: none;
    width: 1em;
    text-align: center;
    font-weight: bold;
  }
  .completed .mark,
  .mark.completed {
    color: var(--_success-text);
  }
  .failed .mark,
  .mark.failed {
    color: var(--_danger-text);
  }
  .error {
    color: var(--_danger-text);
  }
  .mark.stalled,
  .mark.not_advancing,
  .mark.partly_stalled,
  .warning {
    color: var(--_warning-text);
  }
  /* Dim by colour: text that lets the page through would be hard to read. */
  .old .name,
  .old .percent,
  .old .first,
  .old [part='count'] {
    color: var(--_muted);
  }
  .old .spinner {
    animation: none;
    border-color: var(--_muted);
  }
  @media (prefers-reduced-motion: reduce) {
    .spinner {
      animation: none;
      border-color: var(--_accent);
    }
  }
`

export const bar = css`
  .track {
    display: block;
    width: 100%;
    height: var(--_bar);
    border-radius: calc(var(--_bar) / 2);
    background: var(--_track);
    overflow: hidden;
  }
  /* A bar begins where a line does. */
  .track:dir(rtl) {
    transform: scaleX(-1);
  }
  .fill {
    fill: var(--_accent);
    transition: width 0.4s ease-out;
  }
  .completed .fill {
    fill: var(--_success);
  }
  .failed .fill {
    fill: var(--_danger);
  }
  .stalled .fill,
  .not_advancing .fill {
    fill: var(--_warning);
  }
  .cancelled .fill,
  .pending .fill {
    fill: var(--_muted);
  }
  .old .fill {
    fill: var(--_muted);
    transition: none;
  }
  .unknown .fill {
    animation: slide 1.6s ease-in-out infinite alternate;
  }
  .old .unknown .fill {
    animation: none;
  }
  @keyframes slide {
    to {
      transform: translateX(70%);
    }
  }
  /* Of the visitor's own colours the track would be none. */
  @media (forced-colors: active) {
    .track {
      border: 1px solid CanvasText;
    }
    .fill {
      fill: Highlight;
    }
  }
  @media (prefers-reduced-motion: reduce) {
    .fill {
      transition: none;
    }
    .unknown .fill {
      animation: none;
    }
  }
`
