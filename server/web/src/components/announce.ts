/** A way for every part of the page to have a sentence told by the one live region. */

import { createContext, useContext } from "react";

export type Announce = (sentence: string) => void;

export const AnnounceContext = createContext<Announce>(() => undefined);

export function useAnnounce(): Announce {
  return useContext(AnnounceContext);
}
