import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { App } from "./App";
import { createAssistant } from "./assistant";
import "./index.css";

const root = document.getElementById("root");
if (root === null) throw new Error("index.html has no element with the id 'root'");

const assistant = createAssistant();
assistant.start();
createRoot(root).render(
  <StrictMode>
    <App assistant={assistant} />
  </StrictMode>,
);
