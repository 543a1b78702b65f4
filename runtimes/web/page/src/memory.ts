/** What a browser keeps for the page; one that is told to keep nothing keeps nothing. */
export function remembered(kind: "localStorage" | "sessionStorage", key: string): string | null {
  try {
    return window[kind].getItem(key);
  } catch {
    return null;
  }
}

/** Whether it is kept. */
export function remember(kind: "localStorage" | "sessionStorage", key: string, value: string): boolean {
  try {
    window[kind].setItem(key, value);
    return true;
  } catch {
    return false;
  }
}
