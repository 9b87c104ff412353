import { css } from 'lit'

/** The looks of a card, beside those that all elements share. */
export const card = css`
  .card {
    display: grid;
    grid-template-columns: 1fr;
    gap: 4px;
    padding: var(--headway-card-padding, 10px 12px);
    border: 1px solid var(--_border);
    border-radius: var(--_radius);
  }
  .failed.card {
    border-color: color-mix(in srgb, var(--_danger) 50%, transparent);
  }
  .completed.card {
    border-color: color-mix(in srgb, var(--_success) 50%, transparent);
  }
  .head {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 4px var(--_gap);
  }
  /* Where that leaves no room for what stands beside it, that goes to the next line. */
  .name {
    flex: 1 1 8em;
    min-width: 0;
    font-weight: 600;
  }
  .figures {
    position: relative;
    display: flex;
    flex-wrap: wrap;
    gap: 0 12px;
    min-height: 1.4em;
    font-variant-numeric: tabular-nums;
  }
  [part='eta'] {
    margin-inline-start: auto;
  }
  .eta {
    padding: 0;
    border: 0;
    background: none;
    cursor: help;
    text-decoration: underline dotted;
    text-underline-offset: 0.2em;
  }
  /* Above the bar of its own card, where no ancestor cuts it off. */
  .range {
    position: absolute;
    inset-inline-end: 0;
    bottom: 100%;
    display: none;
    width: max-content;
    max-width: 100%;
    padding: 2px 8px;
    border: 1px solid var(--_border);
    border-radius: var(--_radius);
    background: Canvas;
    color: CanvasText;
  }
  .eta:is(:hover, :focus):not([data-hidden]) .range {
    display: block;
  }
  p {
    margin: 0;
  }
  .action {
    max-width: 100%;
    /* Its longest word is what a card needs at least, where its container asks. */
    overflow-wrap: break-word;
    padding: 2px 10px;
    border: 1px solid var(--_border);
    border-radius: var(--_radius);
    background: none;
  }
  .action:hover:enabled {
    background: var(--_track);
  }
  .action[data-on] {
    border-color: currentColor;
    font-weight: 600;
  }
  .action:disabled {
    cursor: default;
    opacity: 0.6;
  }
  [part='message'] {
    min-height: 1.4em;
  }
  .card:focus {
    outline: none;
  }
  .blank {
    visibility: hidden;
  }
`
